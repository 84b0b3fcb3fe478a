"""Small networks on NumPy, made for speed: layers that reuse their memory and one arena of parameters."""

from ._layer import Layer
from .activations import HardTanh, ReLU, Sigmoid, Tanh
from .linear import Linear
from .losses import BinaryCrossEntropy, Loss, MeanSquaredError, MulticlassHinge, SoftmaxNLL, softmax
from .saving import TrainedModel, load, save
from .sequential import Sequential

__all__ = [
    "BinaryCrossEntropy",
    "HardTanh",
    "Layer",
    "Linear",
    "Loss",
    "MeanSquaredError",
    "MulticlassHinge",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "SoftmaxNLL",
    "Tanh",
    "TrainedModel",
    "load",
    "save",
    "softmax",
]
