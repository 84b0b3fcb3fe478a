"""Dropout and batch normalisation: `python -m bench layers`."""
