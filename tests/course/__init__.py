"""What is true of the whole course: each rule is a function, tested on planted bad examples."""
