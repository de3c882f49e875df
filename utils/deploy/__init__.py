"""Where an optimized model runs: one module for each runtime."""
