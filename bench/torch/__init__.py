"""Compare training loops in PyTorch with and without `fusedstep.torch`: `python -m bench torch`."""
