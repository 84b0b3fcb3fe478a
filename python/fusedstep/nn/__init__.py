"""Small networks on NumPy, made for speed: layers that reuse their memory and one arena of parameters."""

from typing import TYPE_CHECKING

from .._base.names import shown as _shown
from ._layer import Layer
from .activations import catalogue as _activations
from .activations.catalogue import *  # noqa: F403
from .batch_norm import BatchNorm
from .blocks import hidden_block
from .dropout import Dropout
from .linear import Linear
from .losses import BinaryCrossEntropy, Loss, MeanSquaredError, MulticlassHinge, SoftmaxNLL, softmax
from .penalties import ActivityPenalty, KLActivity, L1Activity, StudentTActivity
from .pretraining import PretrainedLayer, PretrainedStack, pretrain
from .residual import Residual
from .sampling import SampledPrediction
from .saving import TrainedModel, load, save
from .sequential import Sequential
from .training import Batch, Batches, Trainer

__all__ = [
    "ActivityPenalty",
    "Batch",
    "BatchNorm",
    "Batches",
    "BinaryCrossEntropy",
    "Dropout",
    "KLActivity",
    "L1Activity",
    "Layer",
    "Linear",
    "Loss",
    "MeanSquaredError",
    "MulticlassHinge",
    "PretrainedLayer",
    "PretrainedStack",
    "Residual",
    "SampledPrediction",
    "Sequential",
    "SoftmaxNLL",
    "StudentTActivity",
    "TrainedModel",
    "Trainer",
    "hidden_block",
    "load",
    "pretrain",
    "save",
    "softmax",
]
__all__ += _activations.__all__

if not TYPE_CHECKING:
    __getattr__, __dir__ = _shown(__name__, __all__)
