"""Whole training steps of small networks."""
