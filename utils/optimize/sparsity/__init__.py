"""Sparsity: patterns of zeros, what storing them costs, and which kernels skip them."""
