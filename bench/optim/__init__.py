"""Optimizer steps: `python -m bench optim`."""
