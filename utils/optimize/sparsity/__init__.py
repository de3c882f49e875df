"""PLACEHOLDER 07: what the modules of this folder have in common."""
