"""Whole training steps of small networks: `python -m bench training`."""
