"""What pytest needs to run the course: kernels, tools that may be missing, and where the time went."""
