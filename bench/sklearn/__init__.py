"""Whole fits of the scikit-learn estimators: `python -m bench sklearn`."""
