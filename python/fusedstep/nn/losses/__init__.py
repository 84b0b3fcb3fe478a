"""Losses on a model's outputs, each with its gradient."""

from ._loss import Loss
from .classes import MulticlassHinge, SoftmaxNLL, softmax
from .elementwise import BinaryCrossEntropy, MeanSquaredError

__all__ = ["BinaryCrossEntropy", "Loss", "MeanSquaredError", "MulticlassHinge", "SoftmaxNLL", "softmax"]
