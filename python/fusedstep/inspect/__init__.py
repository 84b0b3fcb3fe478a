"""Looking at a loss as a function of the weights: gradients, curvature, landscapes, bias and variance.

Most functions take ``f``, a function of one flat vector that returns the value and the gradient (scipy's ``jac=True``),
and ``theta``, where to look. `objective` makes both from a network, a loss and data.

    check_gradient          central differences against the analytic gradient, per parameter
    hessian_vector_product, hessian, extreme_eigenvalues
                            curvature, by differences of gradients; Lanczos through scipy
    critical_point          minimum, maximum, saddle or plateau, by the gradient and the extreme eigenvalues
    sharpness               how far the loss climbs in a small box
    line, plane             the loss along one and two directions, with pictures; convexity along a line
    random_direction        with the norms of the weights, filter by filter
    newton_step             theta - (H + damping I)^-1 g
    bias_variance           decomposition of the expected loss, by bootstrap
    plot_curves             training against validation, or one optimizer against another
"""

from typing import TYPE_CHECKING

from .._base.names import shown as _shown
from .critical import CriticalPoint, critical_point, sharpness
from .curves import plot_curves
from .gradient import GradientCheck, check_gradient
from .hessian import Spectrum, extreme_eigenvalues, hessian, hessian_vector_product
from .landscape import Line, Plane, line, plane, random_direction
from .newton import newton_step
from .objective import Objective, objective
from .resampling import BiasVariance, bias_variance

__all__ = [
    "BiasVariance",
    "CriticalPoint",
    "GradientCheck",
    "Line",
    "Objective",
    "Plane",
    "Spectrum",
    "bias_variance",
    "check_gradient",
    "critical_point",
    "extreme_eigenvalues",
    "hessian",
    "hessian_vector_product",
    "line",
    "newton_step",
    "objective",
    "plane",
    "plot_curves",
    "random_direction",
    "sharpness",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = _shown(__name__, __all__)
