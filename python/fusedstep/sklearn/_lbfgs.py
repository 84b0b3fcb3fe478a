"""The solver "lbfgs": scipy's L-BFGS-B with the gradient over all rows."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import sparse
from scipy.optimize import minimize as scipy_minimize
from sklearn.exceptions import ConvergenceWarning

from .._base.arrays import Array
from ._data import Data
from ._fitted import Fitted

REACHED_A_LIMIT = 1  # the `status` of scipy's result if `max_iter` or `max_fun` ended the training


def minimize(estimator: Fitted, data: Data) -> tuple[int, float]:
    """Train the network. Return the number of iterations, and the loss with the weights found."""
    model, loss, alpha = estimator._model, estimator._loss, estimator.alpha
    x = data.x.toarray() if sparse.issparse(data.x) else data.x
    size = len(data) if data.weights is None else float(data.weights.sum())
    weights = [name for name in model.params if name.endswith("weight")]

    def value_and_slope(theta: Array) -> tuple[float, Array]:
        model.arena[:] = theta
        value, dy = loss.value_and_gradient(model.forward(x, training=True), data.targets, data.weights)
        model.backward(dy)
        for name in weights:
            w = model.params[name]
            value += 0.5 * alpha / size * float(np.vdot(w, w))
            model.grads[name] += w * (alpha / size)
        return value, model.grad_arena.astype(np.float64)

    options = {"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol}
    found = scipy_minimize(
        value_and_slope, model.arena.astype(np.float64), method="L-BFGS-B", jac=True, options=options
    )
    model.arena[:] = found.x
    if found.status == REACHED_A_LIMIT:
        warnings.warn(
            f"lbfgs failed to converge after {found.nit} iterations: {found.message}", ConvergenceWarning, stacklevel=5
        )
    return min(int(found.nit), estimator.max_iter), float(found.fun)
