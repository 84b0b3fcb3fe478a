"""Dropout, batch normalisation and noise as functions of NumPy arrays, and the random numbers that they use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._base.names import shown as _shown
from ._batch_norm import BatchNormGrads as BatchNormGrads
from ._batch_norm import batch_norm as batch_norm
from ._batch_norm import batch_norm_backward as batch_norm_backward
from ._batch_stats import BatchStats as BatchStats
from ._dropout import dropout as dropout
from ._dropout import dropout_backward as dropout_backward
from ._dropout import dropout_mask as dropout_mask
from .draws import beta as beta
from .draws import permutation as permutation
from .draws import uniform as uniform
from .moments import Moments as Moments
from .moments import dropout_moments as dropout_moments
from .noise import gaussian_noise as gaussian_noise
from .philox import Key as Key
from .philox import Philox as Philox

if not TYPE_CHECKING:
    __all__, __getattr__, __dir__ = _shown(globals())
