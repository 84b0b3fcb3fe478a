"""Analyse a loss as a function of the weights: gradients, curvature, landscapes, bias and variance.

Most functions have the arguments ``f`` and ``theta``. ``f`` is a function of one vector. It returns the pair
(value, gradient), like a function for ``scipy.optimize.minimize`` with ``jac=True``. ``theta`` is the vector at which
``f`` is analysed. `objective` creates such a function ``f`` from a network, a loss and data. Its attribute ``f.theta``
contains the weights of the network.

- `check_gradient` compares the gradient of each parameter with central differences.
- `hessian_vector_product`, `hessian` and `extreme_eigenvalues` compute the curvature from differences of gradients.
- `critical_point` classifies a point as minimum, maximum, saddle or plateau, by the gradient and the eigenvalues of the
  Hessian.
- `sharpness` computes how much the loss can grow in a small box around theta.
- `line` evaluates the loss along one direction, and `plane` along two. Their results have a method ``plot``.
- `random_direction` returns a random direction for `line` and `plane`. For each unit of a network, the elements of the
  direction have the same norm as the weights of the unit.
- `newton_step` computes theta - rate (H + damping I)^-1 g, with the gradient g and the Hessian H.
- `bias_variance` decomposes the expected loss into bias and variance, with training sets drawn by bootstrap.
- `memory` computes the bytes per parameter that an optimizer needs with its present options and with other options.
- `plot_curves` draws losses over the epochs of a training.
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
