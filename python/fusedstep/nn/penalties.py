"""Layers that penalise their inputs. Such a penalty is a term of the loss.

Put a penalty layer after the layer whose outputs h should be sparse. h has one row per sample and one column per unit.
The output of the penalty layer is h itself. In training, ``weight * penalty(h)`` is a term of ``Sequential.penalty``,
which `Trainer` adds to the loss. The result of the penalty layer's `backward` includes the gradient of this term with
respect to h. In prediction, the penalty is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from .._base.arrays import Array
from .._base.checks import non_negative, open_fraction
from .._base.memory import Buffers
from ._layer import Layer, can_be_saved


class ActivityPenalty(Layer):
    """The base class of layers that penalise their input h. In training, ``weight * penalty(h)`` is a term of the loss.

    The output y is equal to h. L is the loss without this penalty. `backward` gets dy, the gradient of L with respect
    to y. It returns dh, the gradient with respect to h. In training, dh is the gradient of
    ``L + weight * penalty(h)``::

        dh = dy + weight * slope

    Here slope is the gradient of penalty(h) with respect to h. A subclass defines `_evaluate`, which computes
    penalty(h) and slope.

    Parameters
    ----------
    weight : float
        Factor of the penalty in the loss, at least 0.

    Attributes
    ----------
    penalty : float
        The whole term ``weight * penalty(h)``, computed in the last forward pass. 0 if this pass was not in training.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    """

    works_in_place: ClassVar[bool] = True  # dx may overwrite dy
    keeps_output: ClassVar[bool] = True  # y is x itself, which `backward` of the layer before may read
    keeps_dx: ClassVar[bool] = True  # dx may be dy itself

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = non_negative(f"{type(self).__name__}: weight", weight)

    def config(self) -> dict[str, Any]:
        return {"weight": self.weight}

    def attach(
        self,
        params: Mapping[str, Array],
        grads: Mapping[str, Array],
        buffers: Mapping[str, Array],
        dtype: np.dtype[Any],
    ) -> None:
        super().attach(params, grads, buffers, dtype)
        self._slopes, self._work, self._dx = Buffers(dtype), Buffers(dtype), Buffers(dtype)

    def forward(self, x: Array, training: bool) -> Array:
        self.penalty, self._slope = 0.0, None
        if training and self.weight and x.size:
            self._slope = self._slopes[x.shape]
            self.penalty = self.weight * self._evaluate(x, self._slope)
        return x

    def backward(self, dy: Array, need_dx: bool) -> Array | None:
        if not need_dx or self._slope is None:
            return dy if need_dx else None
        added = np.multiply(self._slope, self._slope.dtype.type(self.weight), out=self._work[dy.shape])
        return np.add(dy, added, out=dy if self.over_dy else self._dx[dy.shape])

    def _evaluate(self, h: Array, slope: Array) -> float:
        """Return the penalty of h. Write its gradient with respect to h to the array `slope`."""
        raise NotImplementedError


@can_be_saved
class L1Activity(ActivityPenalty):
    r"""An L1 penalty on activations. In training, ``weight * penalty`` is a term of the loss.

    If the layer before is a `ReLU`, many of the ReLU's outputs become exactly zero. The activations h are the input of
    this layer and have n rows::

        penalty = 1/n sum_ij |h_ij|,    d penalty / dh_ij = sign(h_ij) / n

    Parameters
    ----------
    weight : float
        Factor of the penalty in the loss, at least 0.

    Raises
    ------
    TypeError, ValueError
        If the weight is not a finite number >= 0.

    Notes
    -----
    Sources: Bengio (2012), section 3.2, "sparsity of activation"; Glorot, Bordes, Bengio (2011). torch has no such
    layer.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> model = nn.Sequential(nn.L1Activity(0.5), dtype=np.float64)
    >>> _ = model.forward(np.array([[1.0, -2.0], [0.0, 3.0]]), training=True)
    >>> model.penalty  # the term of the loss: the weight 0.5 times the penalty 3.0
    1.5
    >>> model.backward(np.zeros((2, 2)), need_dx=True)
    array([[ 0.25, -0.25],
           [ 0.  ,  0.25]])
    """

    def _evaluate(self, h: Array, slope: Array) -> float:
        n = len(h)
        value = float(np.add.reduce(np.abs(h, out=slope), axis=None)) / n
        np.sign(h, out=slope)
        np.multiply(slope, slope.dtype.type(1 / n), out=slope)
        return value


@can_be_saved
class StudentTActivity(ActivityPenalty):
    r"""The penalty of a Student-t prior. It moves small activations towards zero and hardly changes large activations.

    In training, ``weight * penalty`` is a term of the loss. The activations h are the input of this layer and have n
    rows::

        penalty = 1/n sum_ij log(1 + h_ij^2),    d penalty / dh_ij = 2 h_ij / (1 + h_ij^2) / n

    Parameters
    ----------
    weight : float
        Factor of the penalty in the loss, at least 0.

    Raises
    ------
    TypeError, ValueError
        If the weight is not a finite number >= 0.

    Notes
    -----
    Sources: Olshausen and Field (1996); Bengio (2012), section 3.2. torch has no such layer.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> model = nn.Sequential(nn.StudentTActivity(1.0), dtype=np.float64)
    >>> _ = model.forward(np.array([[1.0, 0.0]]), training=True)
    >>> bool(np.isclose(model.penalty, np.log(2)))
    True
    """

    def _evaluate(self, h: Array, slope: Array) -> float:
        n, squares = len(h), np.multiply(h, h, out=self._work[h.shape])
        value = float(np.add.reduce(np.log1p(squares, out=slope), axis=None)) / n
        np.divide(h, np.add(squares, 1, out=squares), out=slope)
        np.multiply(slope, slope.dtype.type(2 / n), out=slope)
        return value


@can_be_saved
class KLActivity(ActivityPenalty):
    r"""The Kullback-Leibler divergence of every unit's mean activation from a target rate, summed over the units.

    In training, ``weight * penalty`` is a term of the loss. The activations h are the input of this layer. They have n
    rows, and one column j per unit. rate_j is the mean activation of unit j, and rho is the target rate::

        rate_j = 1/n sum_i h_ij,    penalty = sum_j (rho log(rho / rate_j) + (1 - rho) log((1 - rho) / (1 - rate_j)))
        d penalty / dh_ij = (-rho / rate_j + (1 - rho) / (1 - rate_j)) / n

    Parameters
    ----------
    weight : float
        Factor of the penalty in the loss, at least 0.
    rho : float
        The target for every unit's mean activation, above 0 and below 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described. In training, `forward` raises ValueError if the mean activation of a unit is
        below 0 or above 1. If the layer before is a `Sigmoid`, the mean activations are always from 0 to 1.

    Notes
    -----
    Sources: Lee, Ekanadham, Ng (2008); Hinton (2010), "A practical guide to training restricted Boltzmann machines",
    section 11. At a mean activation of exactly 0 or 1, the penalty and its gradient would be infinite. So the mean
    activations are first clipped to [e, 1 - e], where 1 - e is the largest number below 1 in the model's dtype. torch
    has no such layer.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> model = nn.Sequential(nn.KLActivity(1.0, rho=0.25), dtype=np.float64)
    >>> _ = model.forward(np.array([[0.5], [0.0]]), training=True)
    >>> model.penalty
    0.0
    """

    def __init__(self, weight: float, rho: float = 0.05) -> None:
        super().__init__(weight)
        self.rho = open_fraction("KLActivity: rho", rho)

    def config(self) -> dict[str, Any]:
        return {"weight": self.weight, "rho": self.rho}

    def _evaluate(self, h: Array, slope: Array) -> float:
        rho, rate = self.rho, h.mean(axis=0, dtype=np.float64)
        outside = ~((rate >= 0) & (rate <= 1))
        if outside.any():
            raise ValueError(
                f"KLActivity: mean activations must be from 0 to 1, as after a Sigmoid; got {rate[outside][0]:g}"
            )
        step = float(np.finfo(h.dtype).epsneg)
        rate = np.clip(rate, step, 1 - step)
        slope[...] = (-rho / rate + (1 - rho) / (1 - rate)) / len(h)
        return float(np.sum(rho * np.log(rho / rate) + (1 - rho) * np.log((1 - rho) / (1 - rate))))
