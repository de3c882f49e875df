"""Measuring what an optimization gained and lost: accuracy with intervals, time, memory, operations, cost."""
