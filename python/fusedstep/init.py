"""Initial weights. Each function of this module returns an initializer, which is an object that creates an array.

``initializer(shape, rng, dtype)`` returns an array of this shape and dtype. ``rng`` is a NumPy random generator.
The weights of a layer have the shape (fan_in, fan_out): the number of inputs and the number of outputs of the layer.

The initializers of `fan_in`, `glorot` and `he` draw random numbers with the standard deviation sigma. The distribution
"normal" is N(0, sigma^2). The distribution "uniform" is U(-sqrt(3) sigma, sqrt(3) sigma), which also has the variance
sigma^2. ``scale`` is an argument of these functions, and is 1 by default.

::

    fan_in    sigma = scale / sqrt(fan_in)                     LeCun et al. (1998): outputs have the inputs' variance
    glorot    sigma = scale * sqrt(2 / (fan_in + fan_out))     Glorot and Bengio (2010): for tanh units
    he        sigma = scale * sqrt(2 / fan_in)                 He et al. (2015): for ReLU units
    zeros     all elements are 0                               for biases, and for the weights of the output layer
    constant  all elements have the same value                 for biases

The numbers are drawn in float64 and then rounded to the dtype. So a float32 model and a float64 model with the same
seed start from the same weights, up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._base.names import shown as _shown

__all__ = ["Constant", "Initializer", "Scaled", "constant", "fan_in", "glorot", "he", "zeros"]

Array = npt.NDArray[Any]
Initializer = Callable[[tuple[int, ...], np.random.Generator, npt.DTypeLike], Array]

_VARIANCE: dict[str, Callable[[int, int], float]] = {
    "fan_in": lambda n_in, n_out: 1.0 / n_in,
    "glorot": lambda n_in, n_out: 2.0 / (n_in + n_out),
    "he": lambda n_in, n_out: 2.0 / n_in,
}


@dataclass(frozen=True)
class Scaled:
    """Initializer whose variance depends on the shape (fan_in, fan_out); returned by `fan_in`, `glorot` and `he`."""

    rule: str
    distribution: str = "uniform"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.rule not in _VARIANCE:
            raise ValueError(f"Scaled: rule must be one of {', '.join(_VARIANCE)}; got {self.rule!r}")
        if self.distribution not in ("uniform", "normal"):
            raise ValueError(f'{self.rule}: distribution must be "uniform" or "normal"; got {self.distribution!r}')
        if not _finite(self.scale) or self.scale <= 0:
            raise ValueError(f"{self.rule}: scale must be a finite number > 0; got {self.scale!r}")

    def std(self, shape: tuple[int, ...]) -> float:
        """Return the standard deviation sigma for a weight of shape (fan_in, fan_out)."""
        if len(shape) != 2 or min(shape) < 1:
            raise ValueError(f"{self.rule}: shape must be (fan_in, fan_out), each at least 1; got {tuple(shape)}")
        return self.scale * math.sqrt(_VARIANCE[self.rule](*shape))

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator, dtype: npt.DTypeLike = np.float32) -> Array:
        sigma = self.std(shape)
        if self.distribution == "normal":
            return rng.normal(0.0, sigma, shape).astype(dtype)
        limit = math.sqrt(3.0) * sigma
        return rng.uniform(-limit, limit, shape).astype(dtype)


@dataclass(frozen=True)
class Constant:
    """Initializer that gives all elements the same value; returned by `constant` and `zeros`."""

    value: float = 0.0

    def __post_init__(self) -> None:
        if not _finite(self.value):
            raise ValueError(f"constant: value must be a finite number; got {self.value!r}")

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator, dtype: npt.DTypeLike = np.float32) -> Array:
        return np.full(shape, self.value, dtype)


def fan_in(distribution: str = "uniform", scale: float = 1.0) -> Scaled:
    """Return an initializer for weights with the standard deviation ``scale / sqrt(fan_in)``.

    ``initializer(shape, rng, dtype)`` returns an array of the shape (fan_in, fan_out), where fan_in is the number of
    inputs and fan_out the number of outputs of the layer. The source is LeCun et al. (1998), "Efficient BackProp". With
    "uniform" and ``scale=1 / sqrt(3)``, the weights have the distribution U(-1/sqrt(fan_in), 1/sqrt(fan_in)), which is
    the default of torch's ``Linear``.

    Parameters
    ----------
    distribution : {"uniform", "normal"}
        The distribution of the weights. The two distributions have the same standard deviation.
    scale : float
        Factor of the standard deviation, > 0.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Examples
    --------
    >>> fan_in().std((100, 10))  # the standard deviation of weights of this shape
    0.1
    >>> fan_in("normal")((3, 2), np.random.default_rng(0)).shape
    (3, 2)
    """
    return Scaled("fan_in", distribution, scale)


def glorot(distribution: str = "uniform", scale: float = 1.0) -> Scaled:
    """Return an initializer for weights with the standard deviation ``scale * sqrt(2 / (fan_in + fan_out))``.

    ``initializer(shape, rng, dtype)`` returns an array of the shape (fan_in, fan_out), where fan_in is the number of
    inputs and fan_out the number of outputs of the layer. The source is Glorot and Bengio (2010), eq. 16, for tanh
    units. The distribution "uniform" is U(-r, r) with ``r = scale * sqrt(6 / (fan_in + fan_out))``. For sigmoid units,
    Bengio (2012) recommends ``scale=4``.

    Parameters
    ----------
    distribution : {"uniform", "normal"}
        The distribution of the weights. The two distributions have the same standard deviation.
    scale : float
        Factor of the standard deviation, > 0.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Examples
    --------
    >>> glorot().std((100, 100))
    0.1
    """
    return Scaled("glorot", distribution, scale)


def he(distribution: str = "uniform", scale: float = 1.0) -> Scaled:
    """Return an initializer for weights with the standard deviation ``scale * sqrt(2 / fan_in)``, for ReLU units.

    ``initializer(shape, rng, dtype)`` returns an array of the shape (fan_in, fan_out), where fan_in is the number of
    inputs and fan_out the number of outputs of the layer. The source is He et al. (2015), "Delving deep into
    rectifiers", eq. 10.

    Parameters
    ----------
    distribution : {"uniform", "normal"}
        The distribution of the weights. The two distributions have the same standard deviation.
    scale : float
        Factor of the standard deviation, > 0.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Examples
    --------
    >>> he("normal").std((200, 10))
    0.1
    """
    return Scaled("he", distribution, scale)


def zeros() -> Constant:
    """Return an initializer that sets all elements to 0, for biases and for the weights of the output layer.

    If the weights and biases of the output layer are 0, every class starts with the same score (Bengio 2012).

    Examples
    --------
    >>> zeros()((2,), np.random.default_rng(0))
    array([0., 0.], dtype=float32)
    """
    return Constant(0.0)


def constant(value: float) -> Constant:
    """Return an initializer that gives all elements the same value.

    Use it for example for negative biases. Then few ReLU units are active at the start of the training.

    Parameters
    ----------
    value : float
        The value of all elements. It must be finite.

    Raises
    ------
    ValueError
        If ``value`` is nan or infinite.

    Examples
    --------
    >>> constant(-0.5)((2,), np.random.default_rng(0))
    array([-0.5, -0.5], dtype=float32)
    """
    return Constant(value)


def _finite(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


if not TYPE_CHECKING:
    _, __getattr__, __dir__ = _shown(globals(), __all__)
