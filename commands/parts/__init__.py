"""What the verbs of course.py share."""
