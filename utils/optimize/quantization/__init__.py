"""Quantization: the integer grid, the converter, recipes, training for it, and all of it by hand."""
