"""Search of hyperparameters with Optuna: two samplers, and a check of the borders of the ranges.

::

    CoordinateDescentSampler     one parameter at a time, from the best point so far
    MultiResolutionGridSampler   a coarse grid, then finer ones about the best point
    border_report                warns if the best value lies on the border of its range

Grid and random search are Optuna's own: ``optuna.samplers.GridSampler``, and ``RandomSampler`` with
``trial.suggest_float(name, low, high, log=True)`` for log-uniform numbers. Needs ``pip install 'fusedstep[search]'``.
"""

from typing import TYPE_CHECKING

from .._base.names import shown as _shown
from .._base.optional import need as _need

_need("optuna", "optuna", extra="search")

from .border import Border as Border
from .border import BorderWarning as BorderWarning
from .border import border_report as border_report
from .coordinate import CoordinateDescentSampler as CoordinateDescentSampler
from .multiresolution import MultiResolutionGridSampler as MultiResolutionGridSampler

if not TYPE_CHECKING:
    __all__, __getattr__, __dir__ = _shown(globals())
