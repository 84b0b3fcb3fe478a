"""PyTorch's training loops with and without `fusedstep.torch`: `python -m bench torch`."""
