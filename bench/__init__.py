"""Benchmarks that compare fusedstep with other libraries, in their fastest variants: `python -m bench`."""
