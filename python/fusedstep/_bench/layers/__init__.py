"""Dropout and batch normalisation."""
