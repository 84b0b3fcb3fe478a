"""Drop-in multi-layer perceptrons for scikit-learn, with the options of this package; see `MLPClassifier`."""

from typing import TYPE_CHECKING

from .._base.names import shown as _shown
from .._base.optional import need

need("sklearn", "scikit-learn", extra="sklearn")

from ._classifier import MLPClassifier
from ._regressor import MLPRegressor

for _made in (MLPClassifier, MLPRegressor):  # their name in files of skops
    _made.__module__ = __name__

__all__ = ["MLPClassifier", "MLPRegressor"]

if not TYPE_CHECKING:
    _, __getattr__, __dir__ = _shown(globals(), __all__)
