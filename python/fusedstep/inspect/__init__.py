"""A loss as a function of the weights: gradients, curvature, landscapes, bias and variance.

Most functions take ``f``, a function of one flat vector that returns the value and the gradient (scipy's ``jac=True``),
and ``theta``, the point to look at. `objective` makes both from a network, a loss and data.

- `check_gradient`: central differences against the analytic gradient, per parameter.
- `hessian_vector_product`, `hessian`, `extreme_eigenvalues`: curvature, by differences of gradients; Lanczos by scipy.
- `critical_point`: minimum, maximum, saddle or plateau, by the gradient and the extreme eigenvalues.
- `sharpness`: how much the loss can grow in a small box.
- `line`, `plane`: the loss along one and two directions, with pictures; convexity along a line.
- `random_direction`: a direction with the norms of the weights, filter by filter.
- `newton_step`: theta - (H + damping I)^-1 g.
- `bias_variance`: decomposition of the expected loss, by bootstrap.
- `memory`: bytes per parameter that an optimizer needs, now and with states of other dtypes.
- `plot_curves`: training against validation, or one optimizer against another.
"""

from typing import TYPE_CHECKING

from .._base.names import shown as _shown
from .critical import CriticalPoint as CriticalPoint
from .critical import critical_point as critical_point
from .critical import sharpness as sharpness
from .curves import plot_curves as plot_curves
from .footprint import Bytes as Bytes
from .footprint import Memory as Memory
from .footprint import memory as memory
from .gradient import GradientCheck as GradientCheck
from .gradient import check_gradient as check_gradient
from .hessian import Spectrum as Spectrum
from .hessian import extreme_eigenvalues as extreme_eigenvalues
from .hessian import hessian as hessian
from .hessian import hessian_vector_product as hessian_vector_product
from .landscape import Line as Line
from .landscape import Plane as Plane
from .landscape import line as line
from .landscape import plane as plane
from .landscape import random_direction as random_direction
from .newton import newton_step as newton_step
from .objective import Objective as Objective
from .objective import objective as objective
from .resampling import BiasVariance as BiasVariance
from .resampling import bias_variance as bias_variance

if not TYPE_CHECKING:
    __all__, __getattr__, __dir__ = _shown(globals())
