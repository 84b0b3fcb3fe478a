"""Random arguments of batch normalisation, and the results of the NumPy reference."""

from __future__ import annotations

from typing import Any

import numpy as np

import fusedstep as fs
from fusedstep.ops import _batch_norm_reference as reference

from .bits import Array


def parameters(rng: np.random.Generator, channels: int, dtype: Any) -> list[Array]:
    """Return random arrays for gamma, beta, the running mean and the running variance."""
    return [
        rng.normal(size=channels).astype(dtype),
        rng.normal(size=channels).astype(dtype),
        rng.normal(size=channels).astype(dtype),
        rng.uniform(0.5, 2, channels).astype(dtype),
    ]


class Case:
    """Random arguments of a forward and a backward pass, and the results of the NumPy reference."""

    def __init__(
        self, rng: np.random.Generator, shape: Any, axis: int, dtype: Any, training: bool = True, relu: bool = False,
        residual: bool = False,
    ) -> None:  # fmt: skip
        self.axis, self.training, self.relu = axis, training, relu
        self.x = rng.normal(3, 2, shape).astype(dtype)
        self.gamma, self.beta, self.mean, self.var = parameters(rng, shape[axis], dtype)
        self.residual = rng.normal(size=shape).astype(dtype) if residual else None
        self.dy = rng.normal(size=shape).astype(dtype)

    def run(self, x: Array, out: Array | None, dy: Array, dx: Array | None) -> tuple[Array, ...]:
        """Run the forward and the backward pass of the package. Return all results that are not None.

        `out` and `dx` are arrays for the output and for the gradient of x, or None.
        """
        running_mean, running_var = self.mean.copy(), self.var.copy()
        y, saved = fs.batch_norm(
            x, self.gamma, self.beta, running_mean, running_var, self.training, axis=self.axis, relu=self.relu,
            residual=self.residual, out=out,
        )  # fmt: skip
        grads = fs.batch_norm_backward(dy, saved, out=dx)
        found = (y, running_mean, running_var, grads.dx, grads.dgamma, grads.dbeta, grads.dresidual)
        return tuple(a for a in found if a is not None)

    def bits(self) -> tuple[Array, ...]:
        """Return the results of the NumPy reference, in the order of `run`."""
        v, dy = (reference.channels_first(a, self.axis) for a in (self.x, self.dy))
        n, dtype, mean, var = v.shape[1], v.dtype, self.mean, self.var
        if self.training:
            batch_mean, m2 = reference.moments(v)
            invstd = 1 / np.sqrt(m2 / n + 1e-5)
            mean = ((1 - 0.1) * mean.astype(np.float64) + 0.1 * batch_mean).astype(dtype)
            var = ((1 - 0.1) * var.astype(np.float64) + 0.1 * (m2 / (n - 1))).astype(dtype)
        else:
            batch_mean, invstd = mean.astype(np.float64), 1 / np.sqrt(var.astype(np.float64) + 1e-5)
        gamma, beta = self.gamma.astype(np.float64), self.beta.astype(np.float64)
        y = reference.forward_bits(v, gamma, beta, batch_mean, invstd)
        if self.residual is not None:
            y = y + reference.channels_first(self.residual, self.axis)
        if self.relu:
            y, dy = np.where(y <= 0, dtype.type(0), y), np.where(y <= 0, dtype.type(0), dy)
        dx, dgamma, dbeta = reference.backward_bits(v, dy, gamma, batch_mean, invstd, not self.training)
        found = [reference.like(y, self.x, self.axis), mean, var, reference.like(dx, self.x, self.axis), dgamma, dbeta]
        if self.residual is not None:
            found.append(reference.like(dy, self.x, self.axis))
        return tuple(found)
