"""Whole fits of the scikit-learn estimators."""
