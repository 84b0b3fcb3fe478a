"""The layers of fusedstep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fusedstep as fs

from ..common import Array
from .cases import EPS, MOMENTUM, P
from .runner import Call, Runner


class Ours(Runner):
    def dropout(self) -> Call:
        x, rng, y = self.job.x, fs.Philox(7), self.buffer() if self.out else None
        return lambda: fs.dropout(x, P, rng.key(), out=y)

    def dropout_backward(self) -> Call:
        dy, key, dx = self.job.dy, fs.Philox(7).key(), self.buffer() if self.out else None
        self.forward = lambda: fs.dropout(self.job.x, P, key)
        return lambda: fs.dropout_backward(dy, P, key, out=dx)

    def bn(self) -> Call:
        job, v, y = self.job, self.job.vectors(), self.buffer() if self.out else None
        x, axis, fused = job.x, job.case.axis, job.case.residual
        r = job.residual if fused else None
        g, b, mean, var = v["gamma"], v["beta"], v["running_mean"], v["running_var"]
        self.running = {"running_mean": mean, "running_var": var}
        return lambda: fs.batch_norm(x, g, b, mean, var, True, MOMENTUM, EPS, axis, relu=fused, residual=r, out=y)

    def bn_backward(self) -> Call:
        job, v, dx = self.job, self.job.vectors(), self.buffer() if self.out else None
        _, saved = fs.batch_norm(job.x, v["gamma"], v["beta"], eps=EPS, axis=job.case.axis)
        dy = job.dy
        return lambda: fs.batch_norm_backward(dy, saved, out=dx)

    def bn_inference(self) -> Call:
        job, v, y = self.job, self.job.vectors(), self.buffer() if self.out else None
        x, axis = job.x, job.case.axis
        g, b, mean, var = v["gamma"], v["beta"], v["running_mean"], v["running_var"]
        self.running = {}
        return lambda: fs.batch_norm(x, g, b, mean, var, False, eps=EPS, axis=axis, out=y)

    def outputs(self) -> Mapping[str, Array]:
        last: Any = self.last
        op = self.job.case.op
        if op == "dropout":
            return {"y": last}
        if op == "dropout_backward":
            return {"dx": last, "forward": self.forward()}
        if op == "bn_backward":
            return {"dx": last.dx, "dgamma": last.dgamma, "dbeta": last.dbeta}
        return {"y": last[0], **self.running}


class Alone(Ours):
    """Batch norm without the residual and the ReLU. A comparison with `Ours` shows the cost of residual and ReLU."""

    def bn(self) -> Call:
        job, v, y = self.job, self.job.vectors(), self.buffer()
        x, axis = job.x, job.case.axis
        g, b, mean, var = v["gamma"], v["beta"], v["running_mean"], v["running_var"]
        self.bytes_per_element = 8
        self.running = {}
        return lambda: fs.batch_norm(x, g, b, mean, var, True, MOMENTUM, EPS, axis, out=y)
