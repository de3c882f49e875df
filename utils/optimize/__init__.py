"""Techniques that make a model smaller or faster: one module for each idea."""
