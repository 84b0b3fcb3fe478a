"""Losses of a model's outputs. Each loss computes its value and its gradient."""

from typing import TYPE_CHECKING

from ..._base.names import shown as _shown
from ._loss import Loss as Loss
from .classes import MulticlassHinge as MulticlassHinge
from .classes import SoftmaxNLL as SoftmaxNLL
from .classes import softmax as softmax
from .elementwise import BinaryCrossEntropy as BinaryCrossEntropy
from .elementwise import MeanSquaredError as MeanSquaredError

if not TYPE_CHECKING:
    __all__, __getattr__, __dir__ = _shown(globals())
