"""Small networks on NumPy, made for speed: layers that reuse their memory and one arena of parameters."""

from ._layer import Layer
from .activations import HardTanh, ReLU, Sigmoid, Tanh
from .batch_norm import BatchNorm
from .blocks import hidden_block
from .dropout import Dropout
from .linear import Linear
from .losses import BinaryCrossEntropy, Loss, MeanSquaredError, MulticlassHinge, SoftmaxNLL, softmax
from .penalties import ActivityPenalty, KLActivity, L1Activity, StudentTActivity
from .pretraining import PretrainedLayer, PretrainedStack, pretrain
from .residual import Residual
from .sampling import SampledPrediction
from .saving import load, save
from .sequential import Sequential
from .trained import TrainedModel
from .training import Batch, Batches, Trainer

__all__ = [
    "ActivityPenalty",
    "Batch",
    "BatchNorm",
    "Batches",
    "BinaryCrossEntropy",
    "Dropout",
    "HardTanh",
    "KLActivity",
    "L1Activity",
    "Layer",
    "Linear",
    "Loss",
    "MeanSquaredError",
    "MulticlassHinge",
    "PretrainedLayer",
    "PretrainedStack",
    "ReLU",
    "Residual",
    "SampledPrediction",
    "Sequential",
    "Sigmoid",
    "SoftmaxNLL",
    "StudentTActivity",
    "Tanh",
    "TrainedModel",
    "Trainer",
    "hidden_block",
    "load",
    "pretrain",
    "save",
    "softmax",
]
