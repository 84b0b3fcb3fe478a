"""Averages: of predictions, of weights, over seeds and over random draws.

average       the mean of predictions                  (1/m) sum_j f_j(x)
Ensemble      models that predict together, with the variance between them
Snapshots     the models at the end of each cycle of a schedule with restarts
Polyak        the average of the weights along a run     avg = d avg + (1 - d) theta
over_seeds    a score's mean, deviation and standard error over seeds
monte_carlo   mean and variance of a random prediction, such as one under dropout (`fusedstep.dropout_moments`)
"""

from typing import TYPE_CHECKING

from .._base.names import shown as _shown
from ..ops.moments import Moments
from ..ops.moments import dropout_moments as monte_carlo
from .members import Ensemble, average
from .polyak import Polyak
from .seeds import SeedScores, over_seeds
from .snapshots import Snapshots

__all__ = ["Ensemble", "Moments", "Polyak", "SeedScores", "Snapshots", "average", "monte_carlo", "over_seeds"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = _shown(__name__, __all__)
