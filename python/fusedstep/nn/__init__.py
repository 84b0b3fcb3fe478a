"""Small, fast networks on NumPy. Layers reuse their memory, and one array holds all parameters."""

from typing import TYPE_CHECKING

from .._base.names import shown as _shown
from ._layer import Layer as Layer
from .activations.catalogue import *  # noqa: F403
from .batch_norm import BatchNorm as BatchNorm
from .batch_norm import measure_batch_norm as measure_batch_norm
from .blocks import hidden_block as hidden_block
from .dropout import Dropout as Dropout
from .linear import Linear as Linear
from .losses import BinaryCrossEntropy as BinaryCrossEntropy
from .losses import Loss as Loss
from .losses import MeanSquaredError as MeanSquaredError
from .losses import MulticlassHinge as MulticlassHinge
from .losses import SoftmaxNLL as SoftmaxNLL
from .losses import softmax as softmax
from .penalties import ActivityPenalty as ActivityPenalty
from .penalties import KLActivity as KLActivity
from .penalties import L1Activity as L1Activity
from .penalties import StudentTActivity as StudentTActivity
from .pretraining import PretrainedLayer as PretrainedLayer
from .pretraining import PretrainedStack as PretrainedStack
from .pretraining import pretrain as pretrain
from .residual import Residual as Residual
from .sampling import SampledPrediction as SampledPrediction
from .saving import load as load
from .saving import save as save
from .sequential import Sequential as Sequential
from .trained import TrainedModel as TrainedModel
from .training import Batch as Batch
from .training import Batches as Batches
from .training import Trainer as Trainer

if not TYPE_CHECKING:
    __all__, __getattr__, __dir__ = _shown(globals())
