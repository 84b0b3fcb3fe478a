"""Layers in torch's eager mode. If `out` is True, torch's internal operators write into given memory."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..common import Array
from .cases import EPS, MOMENTUM, P
from .runner import Call, Job, Runner


class Torch(Runner):
    def __init__(self, job: Job, out: bool = False) -> None:
        self.torch: Any = importlib.import_module("torch")
        self.torch.set_num_threads(job.threads)
        self.F: Any = self.torch.nn.functional
        super().__init__(job, out)

    def tensor(self, a: Array) -> Any:
        """Return a copy as a tensor. If the channels are last, the tensor has torch's memory format channels last."""
        t = self.torch.from_numpy(a.astype(np.float32)).to(getattr(self.torch, self.job.case.dtype))
        return t.movedim(-1, 1) if self.job.case.axis == -1 else t

    def array(self, t: Any) -> Array:
        """Return a NumPy view of a tensor in the layout of the case."""
        t = t.detach()
        t = t.movedim(1, -1) if self.job.case.axis == -1 else t
        has_name = t.dtype != self.torch.bfloat16  # NumPy itself has no bfloat16
        result: Array = t.numpy() if has_name else t.view(self.torch.int16).numpy().view(self.job.dtype)
        return result

    def like(self, t: Any) -> Any:
        """Return a new tensor with the shape of t, filled with nan. A view of it is added to the runner's buffers."""
        result = self.torch.full_like(t, np.nan)
        self.buffers.append(self.array(result))
        return result

    def parameters(self) -> tuple[Any, Any, Any, Any]:
        gamma, beta, mean, var = (self.torch.from_numpy(v).clone() for v in self.job.vectors().values())
        self.running = {"running_mean": mean, "running_var": var}
        return gamma, beta, mean, var

    def dropout(self) -> Call:
        x, functional = self.tensor(self.job.x), self.F
        if not self.out:
            return lambda: functional.dropout(x, P, training=True)
        torch, y, noise = self.torch, self.like(x), self.torch.empty_like(x)

        def call() -> Any:  # the operations of at::dropout
            noise.bernoulli_(1 - P).div_(1 - P)
            return torch.mul(x, noise, out=y)

        return call

    def dropout_backward(self) -> Call:
        x, dy, torch = self.tensor(self.job.x), self.tensor(self.job.dy), self.torch
        if not self.out:
            y = self.F.dropout(x.requires_grad_(), P, training=True)
            self.forward = lambda: y
            return lambda: torch.autograd.grad(y, x, dy, retain_graph=True)[0]
        noise, dx = torch.empty_like(x).bernoulli_(1 - P).div_(1 - P), self.like(x)
        self.forward = lambda: x * noise
        return lambda: torch.mul(dy, noise, out=dx)

    def bn(self) -> Call:
        normalise = self.batch_norm(training=True)
        if not self.job.case.residual:
            return normalise
        residual = self.tensor(self.job.residual)
        return lambda: normalise().add_(residual).relu_()

    def bn_inference(self) -> Call:
        return self.batch_norm(training=False)

    def batch_norm(self, training: bool) -> Any:
        x, functional, (gamma, beta, mean, var) = self.tensor(self.job.x), self.F, self.parameters()
        if not self.out:
            return lambda: functional.batch_norm(x, mean, var, gamma, beta, training, MOMENTUM, EPS)
        native, y = self.torch.ops.aten.native_batch_norm.out, self.like(x)
        size = self.job.channels if training else 0
        saved = {"out": y, "save_mean": self.torch.empty(size), "save_invstd": self.torch.empty(size)}
        return lambda: native(x, gamma, beta, mean, var, training, MOMENTUM, EPS, **saved)[0]

    def bn_backward(self) -> Call:
        x, dy, torch, (gamma, beta, mean, var) = (
            self.tensor(self.job.x),
            self.tensor(self.job.dy),
            self.torch,
            self.parameters(),
        )
        if not self.out:
            inputs = [t.requires_grad_() for t in (x, gamma, beta)]
            y = self.F.batch_norm(x, mean, var, gamma, beta, True, MOMENTUM, EPS)
            return lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)
        aten = torch.ops.aten
        _, batch, invstd = torch.native_batch_norm(x, gamma, beta, mean, var, True, MOMENTUM, EPS)
        native, out = aten.native_batch_norm_backward.out, [self.like(x), self.like(gamma), self.like(beta)]
        outs = {f"out{i}": t for i, t in enumerate(out)}
        return lambda: native(dy, x, gamma, mean, var, batch, invstd, True, EPS, [True] * 3, **outs)

    def outputs(self) -> Mapping[str, Array]:
        last: Any = self.last
        op = self.job.case.op
        if op == "dropout_backward":
            return {"dx": self.array(last), "forward": self.array(self.forward())}
        if op == "bn_backward":
            return {"dx": self.array(last[0]), "dgamma": last[1].numpy(), "dbeta": last[2].numpy()}
        running = {name: t.numpy() for name, t in self.running.items()} if op == "bn" else {}
        return {"y": self.array(last), **running}
