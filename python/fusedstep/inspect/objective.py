"""The loss of a network as a function of its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .._base.arrays import describe
from .._base.checks import flag
from .._base.random import key_of
from ..nn.losses import Loss
from ..nn.sequential import Sequential
from ..ops.philox import Key
from ._functions import Vector, vector

Array = npt.NDArray[Any]


class Objective:
    """The mean loss over some rows as a function of all weights of a network; returned by `objective`.

    Attributes
    ----------
    theta : ndarray of float64, shape (d,)
        The weights that the network had when `objective` was called.
    shapes : dict of str to tuple
        The shape of each parameter array of the network, by name. theta contains the elements of these arrays, one
        array after another, in the order of `shapes`.
    """

    def __init__(self, model: Sequential, loss: Loss, x: Array, targets: Any, training: bool, key: Key) -> None:
        self._model, self._loss, self._x, self._targets, self._training = model, loss, x, targets, training
        self.theta: Vector = model.arena.copy()
        self.shapes = {name: array.shape for name, array in model.params.items()}
        if training:
            for i, layer in enumerate(model.layers):
                layer.sample(key.fold(i))
        self(self.theta)  # raises an error if the loss does not fit the model

    def __call__(self, theta: Vector) -> tuple[float, Vector]:
        """Return the mean loss at theta, and its gradient as a new array."""
        value, dy = self._loss.value_and_gradient(self._outputs(theta), self._targets)
        self._model.backward(dy)
        return value + self._model.penalty, self._model.grad_arena.copy()

    def value(self, theta: Vector) -> float:
        """Return the mean loss at theta. No gradient is computed."""
        return self._loss(self._outputs(theta), self._targets) + self._model.penalty

    def _outputs(self, theta: Vector) -> Array:
        self._model.arena[...] = vector("Objective", "theta", theta, self.theta.size)
        return self._model.forward(self._x, self._training)

    def split(self, theta: Vector) -> dict[str, Array]:
        """Split a vector into views: one view per parameter, in the shape of the parameter.

        The vector may be theta or another vector of the same length, such as a gradient. The result is a dict with the
        parameter names as keys.
        """
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes.values()])
        parts = np.split(theta, ends[:-1])
        return {name: part.reshape(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def __repr__(self) -> str:
        mode = "training" if self._training else "prediction"
        return f"<Objective of {self.theta.size} weights over {len(self._x)} rows, in {mode}>"


def objective(
    model: Sequential, loss: Loss, x: npt.ArrayLike, targets: Any, *, training: bool = False, key: Key | None = None
) -> Objective:
    """Return a function f that computes the mean loss of a network over the rows x, and the gradient of this loss.

    The call ``f(theta)`` returns (value, gradient), in float64. theta is a vector of the network's weights (all of its
    parameters). The gradient is with respect to theta.

    ::

        value = loss(model(x; theta), targets) + penalties on activations (in training)

    Parameters
    ----------
    model : Sequential
        The network. f uses a copy in float64, so calls of f do not change the network.
    loss : Loss
        A loss of `fusedstep.nn`.
    x : array_like, shape (n, in_features)
        Input rows.
    targets : array_like
        The targets of the rows x, in the form that the loss needs.
    training : bool
        If True, batch normalisation uses the statistics of the rows x, dropout is active, and layers such as
        `L1Activity` add their penalties on activations.
    key : Key, optional
        The key of the dropout masks, used if `training` is True. Every call of f uses the same masks.

    Returns
    -------
    Objective
        The function f. Its attribute ``theta`` holds the weights that the model had when `objective` was called.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> model = nn.Sequential(nn.Linear(2, 1), rng=0)
    >>> f = objective(model, nn.MeanSquaredError(), np.eye(2), np.ones((2, 1)))
    >>> value, gradient = f(f.theta)
    >>> {name: part.shape for name, part in f.split(gradient).items()}
    {'0.weight': (2, 1), '0.bias': (1,)}
    """
    call = "objective"
    if not isinstance(model, Sequential) or not model.params:
        raise TypeError(f"{call}: model must be a Sequential with parameters; got {model!r}")
    if not isinstance(loss, Loss):
        raise TypeError(f"{call}: loss must be a Loss, such as nn.SoftmaxNLL(); got {loss!r}")
    rows = np.asarray(x, np.float64)
    if rows.ndim != 2 or not rows.size:
        raise ValueError(f"{call}: x must have the shape (n, in_features) with n >= 1; got {describe(rows)}")
    source = Key(0) if key is None else key_of(call, key)
    return Objective(model.astype(np.float64), loss, rows, targets, flag(f"{call}: training", training), source)
