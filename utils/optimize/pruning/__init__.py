"""Pruning: single weights by magnitude or another criterion, in one step or while training, and whole filters."""

from utils.optimize.pruning.magnitude import PRUNABLE, prunable, prune_once, sparsity, zero_smallest

__all__ = ["PRUNABLE", "prunable", "prune_once", "sparsity", "zero_smallest"]
