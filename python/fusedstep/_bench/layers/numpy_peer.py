"""Layers in plain NumPy on one thread: the code that a user writes without another library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..common import Array, Unavailable
from .cases import EPS, MOMENTUM, P
from .runner import Call, Job, Runner


class NumPy(Runner):
    def __init__(self, job: Job, out: bool = False) -> None:
        if job.case.is_half:
            raise Unavailable("the benchmark's NumPy code is for float32 only")
        super().__init__(job, out)

    def dropout(self) -> Call:
        rng, x, shape = np.random.default_rng(7), self.job.x, self.job.case.shape
        if not self.out:
            return lambda: x * (rng.random(shape, dtype=np.float32) >= P) * np.float32(1 / (1 - P))
        y, u, kept = self.buffer(), np.empty(shape, np.float32), np.empty(shape, np.bool_)

        def call() -> Array:
            rng.random(dtype=np.float32, out=u)
            np.greater_equal(u, P, out=kept)
            np.multiply(x, kept, out=y)
            y.__imul__(np.float32(1 / (1 - P)))
            return y

        return call

    def dropout_backward(self) -> Call:
        x, dy, rng = self.job.x, self.job.dy, np.random.default_rng(7)
        noise = (rng.random(x.shape, dtype=np.float32) >= P) * np.float32(1 / (1 - P))
        self.forward = lambda: x * noise
        dx = self.buffer() if self.out else None
        return lambda: np.multiply(dy, noise, out=dx)

    def bn(self) -> Call:
        v = self.vectors = self.job.vectors()
        job, y = self.job, self.buffer() if self.out else None

        def call() -> Array:
            mean, var = job.x.mean(job.others), job.x.var(job.others)
            for running, batch in (
                ("running_mean", mean),
                ("running_var", var * job.per_channel / (job.per_channel - 1)),
            ):
                v[running] += np.float32(MOMENTUM) * (batch - v[running])
            result = self.normalise(mean, var, y)
            if job.case.residual:
                result += job.residual
                np.maximum(result, 0, out=result)
            return result

        return call

    def bn_inference(self) -> Call:
        v = self.vectors = self.job.vectors()
        y = self.buffer() if self.out else None
        return lambda: self.normalise(v["running_mean"], v["running_var"], y)

    def normalise(self, mean: Array, var: Array, y: Array | None) -> Array:
        along, v = self.job.along, self.vectors
        scale = v["gamma"] / np.sqrt(var + np.float32(EPS))
        y = np.multiply(self.job.x, along(scale), out=y)
        y += along(v["beta"] - mean * scale)
        return y

    def bn_backward(self) -> Call:
        job, v, others, along = self.job, self.job.vectors(), self.job.others, self.job.along
        mean = job.x.mean(others)
        invstd = 1 / np.sqrt(job.x.var(others) + np.float32(EPS))
        xhat, dx, n = (job.x - along(mean)) * along(invstd), self.buffer() if self.out else None, job.per_channel
        product = np.empty_like(xhat) if self.out else None

        def call() -> tuple[Array, Array, Array]:
            p = np.multiply(job.dy, xhat, out=product)
            dbeta, dgamma = job.dy.sum(others), p.sum(others)
            np.multiply(xhat, along(dgamma / n), out=p)
            result = np.subtract(job.dy, p, out=dx)
            result -= along(dbeta / n)
            result *= along(v["gamma"] * invstd)
            return result, dgamma, dbeta

        return call

    def outputs(self) -> Mapping[str, Array]:
        last: Any = self.last
        op = self.job.case.op
        if op == "dropout_backward":
            return {"dx": last, "forward": self.forward()}
        if op == "bn_backward":
            return dict(zip(("dx", "dgamma", "dbeta"), last, strict=True))
        running = {k: self.vectors[k] for k in ("running_mean", "running_var")} if op == "bn" else {}
        return {"y": last, **running}
