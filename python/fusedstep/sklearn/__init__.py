"""Multi-layer perceptrons that can replace those of scikit-learn and have more options; see `MLPClassifier`."""

from typing import TYPE_CHECKING

from .._base.names import shown as _shown
from .._base.optional import need

need("sklearn", "scikit-learn", extra="sklearn")

from ._classifier import MLPClassifier
from ._regressor import MLPRegressor

for _made in (MLPClassifier, MLPRegressor):  # skops files contain this module name
    _made.__module__ = __name__

__all__ = ["MLPClassifier", "MLPRegressor"]

if not TYPE_CHECKING:
    _, __getattr__, __dir__ = _shown(globals(), __all__)
