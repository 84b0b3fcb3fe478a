"""Benchmarks of fusedstep against the strongest form of each peer: `python -m bench optim` and `layers`."""
