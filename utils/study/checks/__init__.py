"""The checks of each chapter's exercises: chapter 03's are in ch03.py."""
