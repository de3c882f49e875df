"""Sparsity: patterns of zeros, what storing them costs, and where a file's kernels skip them."""
