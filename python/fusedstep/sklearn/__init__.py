"""Drop-in multi-layer perceptrons for scikit-learn, with all that this package adds: see `MLPClassifier`."""

from .._base.optional import need

need("sklearn", "scikit-learn", extra="sklearn")

from ._classifier import MLPClassifier  # noqa: E402
from ._regressor import MLPRegressor  # noqa: E402

__all__ = ["MLPClassifier", "MLPRegressor"]
