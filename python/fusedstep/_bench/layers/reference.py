"""Compute the right results of a layer in float64, and the errors of the results of an implementation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from ..common import Array
from .cases import EPS, MOMENTUM, P
from .runner import Job

ALLOWED = 1e-4  # allowed error / largest value of the array; plain NumPy with channels last has an error of 2e-5
ALLOWED_SUM = 1e-3  # the same for dgamma and dbeta, which are sums over all values of a channel in float32
# 8 channels of batch norm, or about a million elements of dropout, are compared. All elements must be finite.
CHANNELS, SAMPLED = 8, 1_000_000
SIGMAS = 6.0  # allowed error of the fraction of kept elements / standard deviation of this fraction


class Oracle:
    """The right results of one case in float64."""

    def __init__(self, job: Job) -> None:
        self.job = job

    @cached_property
    def picked(self) -> Array:
        """Return the indices of the channels that are compared."""
        return np.unique(np.linspace(0, self.job.channels - 1, CHANNELS).astype(int))

    def channels(self, a: Array) -> Array:
        """Return the picked channels as a float64 array of shape (channels, values of a channel)."""
        moved = np.moveaxis(a, self.job.case.axis, 0)
        return moved[self.picked].astype(np.float64).reshape(len(self.picked), -1)

    @cached_property
    def want(self) -> dict[str, Array]:
        """Return the right results of one call of batch norm or of its backward pass, for the picked channels."""
        job, x = self.job, self.channels(self.job.x)
        v = {name: a[self.picked].astype(np.float64)[:, None] for name, a in job.vectors().items()}
        op = job.case.op
        inference = op == "bn_inference"
        mean = v["running_mean"] if inference else x.mean(1, keepdims=True)
        var = v["running_var"] if inference else x.var(1, keepdims=True)
        invstd = 1 / np.sqrt(var + EPS)
        xhat = (x - mean) * invstd
        if op == "bn_backward":
            return self.gradients(xhat, invstd, v["gamma"])
        y = v["gamma"] * xhat + v["beta"]
        if job.case.residual:
            y = np.maximum(y + self.channels(job.residual), 0)
        unbiased = var * job.per_channel / (job.per_channel - 1)
        running = {"running_mean": mean, "running_var": unbiased}
        return {"y": y} | {k: ((1 - MOMENTUM) * v[k] + MOMENTUM * b)[:, 0] for k, b in running.items()}

    def gradients(self, xhat: Array, invstd: Array, gamma: Array) -> dict[str, Array]:
        dy, n = self.channels(self.job.dy), xhat.shape[1]
        dbeta, dgamma = dy.sum(1, keepdims=True), (dy * xhat).sum(1, keepdims=True)
        dx = gamma * invstd * (dy - dbeta / n - xhat * dgamma / n)
        return {"dx": dx, "dgamma": dgamma[:, 0], "dbeta": dbeta[:, 0]}

    def error(self, got: Mapping[str, Array], first: bool = True) -> float:
        """Return the largest error, divided by the allowed error. Results are right if this number is at most 1.

        `got` contains the results of an implementation under their names. `first` is True if these are the results of
        the first call. After later calls, the running statistics are not compared, because the reference contains the
        running statistics after one call only.
        """
        if not all(np.isfinite(a).all() for a in got.values()):
            return math.inf
        if "copy" in got:
            return 0.0 if np.array_equal(got["copy"], got["source"]) else math.inf
        if self.job.case.op.startswith("dropout"):
            return self.dropout_error(got)
        names = [name for name in got if first or not name.startswith("running")]
        return max(self.batch_norm_error(name, got[name]) for name in names)

    def batch_norm_error(self, name: str, got: Array) -> float:
        shape = (self.job.channels,) if got.ndim == 1 else self.job.case.shape
        if got.shape != shape:
            return math.inf
        mine = got[self.picked].astype(np.float64) if got.ndim == 1 else self.channels(got)
        allowed = ALLOWED_SUM if name in ("dgamma", "dbeta") else ALLOWED
        return relative(mine, self.want[name]) / max(allowed, self.rounding)

    @cached_property
    def rounding(self) -> float:
        """Return (error of rounding to 16 bits) / (largest value of the array), or 0 for float32."""
        return {"bfloat16": 2**-7, "float16": 2**-10}.get(self.job.case.dtype, 0.0)

    def dropout_error(self, got: Mapping[str, Array]) -> float:
        """Return the largest error of dropout, divided by the allowed error.

        p is the probability to drop an element. Three things are checked:

        - Kept elements are divided by 1 - p.
        - The fraction of kept elements is about 1 - p.
        - In the backward pass, the gradient is 0 in the same places as the output of the forward pass.
        """
        backward = "dx" in got
        source, result = (self.job.dy, got["dx"]) if backward else (self.job.x, got["y"])
        if result.shape != source.shape:
            return math.inf
        stride = max(1, source.size // SAMPLED)
        x, y = (a.reshape(-1)[::stride].astype(np.float64) for a in (source, result))
        kept = y != 0
        if backward and not np.array_equal(kept, got["forward"].reshape(-1)[::stride] != 0):
            return math.inf
        surprise = abs(kept.mean() - (1 - P)) / math.sqrt(P * (1 - P) / kept.size)
        return max(relative(y[kept], x[kept] / (1 - P)) / ALLOWED, surprise / SIGMAS)


def relative(got: Array, want: Array) -> float:
    """Return the largest difference between `got` and `want`, divided by the largest absolute value of `want`."""
    if got.size == 0:
        return math.inf
    scale: Any = np.abs(want).max()
    return float(np.abs(got - want).max() / scale)
