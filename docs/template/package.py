"""PLACEHOLDER @NN@: what the modules of this folder have in common."""
