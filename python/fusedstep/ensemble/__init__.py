"""Averages of predictions, of weights, and of scores.

::

    average       the mean of the predictions f_j(x) of m models      (1/m) sum_j f_j(x)
    Ensemble      models whose predictions are averaged, and the variance between the models
    Snapshots     copies of a model from the end of each cycle of a schedule with restarts
    Polyak        the average, with the decay d, of the weights theta during a training   avg = d avg + (1 - d) theta
    over_seeds    a score's mean, standard deviation and standard error over seeds
    monte_carlo   mean and variance of a prediction over dropout masks (the same as `fusedstep.dropout_moments`)
"""

from typing import TYPE_CHECKING

from .._base.names import shown as _shown
from ..ops.moments import Moments as Moments
from ..ops.moments import dropout_moments as _dropout_moments
from .members import Ensemble as Ensemble
from .members import average as average
from .polyak import Polyak as Polyak
from .seeds import SeedScores as SeedScores
from .seeds import over_seeds as over_seeds
from .snapshots import Snapshots as Snapshots

monte_carlo = _dropout_moments

if not TYPE_CHECKING:
    __all__, __getattr__, __dir__ = _shown(globals())
