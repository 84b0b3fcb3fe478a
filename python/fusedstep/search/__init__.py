"""Search of hyperparameters with Optuna: two samplers, and a check whether a range was too narrow.

::

    CoordinateDescentSampler     changes one parameter at a time, and keeps each better value
    MultiResolutionGridSampler   tries a coarse grid, then finer grids around the best point
    border_report                warns if the best value of a parameter lies on the border of its range

Optuna itself has grid search and random search: ``optuna.samplers.GridSampler`` and ``optuna.samplers.RandomSampler``.
For numbers that are uniform on the logarithmic scale, use ``trial.suggest_float(name, low, high, log=True)``. To
install Optuna, run ``pip install 'fusedstep[search]'``.
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
