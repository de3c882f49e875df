"""Tests: they mirror `utils/`; `course/` holds what is true of the whole course."""
