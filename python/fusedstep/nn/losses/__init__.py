"""Losses on a model's outputs, each with its gradient."""

from typing import TYPE_CHECKING

from ..._base.names import shown as _shown
from ._loss import Loss
from .classes import MulticlassHinge, SoftmaxNLL, softmax
from .elementwise import BinaryCrossEntropy, MeanSquaredError

__all__ = ["BinaryCrossEntropy", "Loss", "MeanSquaredError", "MulticlassHinge", "SoftmaxNLL", "softmax"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = _shown(__name__, __all__)
