"""A network, its loss and Adam in plain NumPy.

In float64, this code gives the right results for the check. In float32, it is the line `numpy` of the printed table.
"""

from __future__ import annotations

import math

import numpy as np

from ..common import Array
from .cases import LR
from .data import Job

# Adam's first steps change a weight by about the learning rate, even if its gradient is nearly 0. So a rounding error
# of such a gradient changes the weight much. After more steps, this would be more than the allowed error.
CHECKED_STEPS = 3
ALLOWED = 0.02  # allowed error of a weight / learning rate
MOST = 0.999  # fraction of the weights whose errors must be at most the allowed error


class NumPyTraining:
    """A network in NumPy: its weights and biases (alternating), its gradients and Adam's step."""

    def __init__(self, job: Job, dtype: type = np.float32) -> None:
        self.p: list[Array] = [a.astype(dtype) for a in job.start]
        self.m, self.v = ([np.zeros_like(a) for a in self.p] for _ in range(2))
        self.t = 0

    def forward(self, x: Array) -> list[Array]:
        """Return the inputs of all layers, and the logits as the last element."""
        values = [x]
        for i in range(0, len(self.p), 2):
            z = values[-1] @ self.p[i] + self.p[i + 1]
            values.append(np.maximum(z, 0) if i + 2 < len(self.p) else z)
        return values

    def gradients(self, x: Array, y: Array) -> list[Array]:
        *inputs, z = self.forward(x)
        dy = np.exp(z - z.max(1, keepdims=True))
        dy /= dy.sum(1, keepdims=True)
        dy[np.arange(len(y)), y] -= 1
        dy /= len(y)
        grads: list[Array] = []
        for i in range(len(self.p) - 2, -1, -2):
            h = inputs[i // 2]
            grads[:0] = [h.T @ dy, dy.sum(0)]
            if i:
                dy = (dy @ self.p[i].T) * (h > 0)
        return grads

    def train(self, x: Array, y: Array) -> None:
        """Do one step of Adam."""
        self.t += 1
        rate, root = LR / (1 - 0.9**self.t), math.sqrt(1 - 0.999**self.t)
        for p, m, v, g in zip(self.p, self.m, self.v, self.gradients(x, y), strict=True):
            m += 0.1 * (g - m)
            v *= 0.999
            v += 0.001 * g * g
            p -= rate * m / (np.sqrt(v) / root + 1e-8)

    def loss(self, x: Array, y: Array) -> float:
        z = self.forward(x)[-1]
        top = z.max(1, keepdims=True)
        chosen = (z - top)[np.arange(len(y)), y]
        return float(np.mean(np.log(np.exp(z - top).sum(1)) - chosen))


class Oracle:
    """The right parameters after the first CHECKED_STEPS steps, in float64."""

    def __init__(self, job: Job) -> None:
        exact = NumPyTraining(job, np.float64)
        self.x, self.y = job.rows[0].astype(np.float64), job.rows[1]
        self.before = exact.loss(self.x, self.y)
        for batch in job.batches[:CHECKED_STEPS]:
            exact.train(self.x[batch], self.y[batch])
        self.want, self.exact = exact.p, exact

    def error(self, params: list[Array]) -> float:
        """Return the error of the parameters, divided by the allowed error. They are right if this is at most 1."""
        if not all(np.isfinite(p).all() for p in params):
            return math.inf
        errors = np.concatenate([np.abs(p - want).ravel() for p, want in zip(params, self.want, strict=True)])
        return float(np.quantile(errors, MOST)) / (ALLOWED * LR)

    def has_learnt(self, params: list[Array]) -> bool:
        """Return True if the loss on the training rows is lower than with the initial weights."""
        self.exact.p = [p.astype(np.float64) for p in params]
        return self.exact.loss(self.x, self.y) < self.before
