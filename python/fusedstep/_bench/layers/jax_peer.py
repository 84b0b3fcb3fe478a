"""Layers in compiled JAX. If `out` is True, JAX may write the new output into the memory of the previous output."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..common import Array
from .cases import EPS, MOMENTUM, P
from .runner import Call, Job, Runner

NAMES = {
    "dropout": ("y",),
    "dropout_backward": ("dx",),
    "bn": ("y", "running_mean", "running_var"),
    "bn_backward": ("dx", "dgamma", "dbeta"),
    "bn_inference": ("y",),
}


class Jax(Runner):
    def __init__(self, job: Job, out: bool = False, impl: str = "threefry2x32") -> None:
        self.jax: Any = importlib.import_module("jax")
        self.np: Any = importlib.import_module("jax.numpy")
        self.impl = impl
        super().__init__(job, out)

    def compiled(self, function: Callable[..., Any], state: Any, *rest: Any) -> Call:
        """Compile `function(state, *rest) -> (outputs, state)`. Return a function that calls it and keeps the state.

        ``outputs[0]`` has the shape of the layer's input.
        """
        if self.out:

            def donated(old: Any, state: Any, *rest: Any) -> Any:
                return function(state, *rest)

            run = self.jax.jit(donated, donate_argnums=(0,), keep_unused=True)
        else:
            run = self.jax.jit(function)
        self.state = state
        old = [self.np.zeros(self.job.case.shape, self.job.dtype)] if self.out else []

        def call() -> Any:
            result, self.state = run(*old, self.state, *rest)
            if self.out:
                old[0] = result[0]
            result[0].block_until_ready()  # all outputs of one program become ready at the same time
            return result

        return call

    def own(self, a: Array) -> Any:
        return self.np.array(a, copy=True)

    def dropout(self) -> Call:
        random = self.jax.random

        def function(key: Any, x: Any) -> Any:
            key, draw = random.split(key)
            return (self.np.where(random.bernoulli(draw, 1 - P, x.shape), x / (1 - P), 0.0),), key

        return self.compiled(function, random.key(7, impl=self.impl), self.own(self.job.x))

    def dropout_backward(self) -> Call:
        kept = self.jax.random.bernoulli(self.jax.random.key(7, impl=self.impl), 1 - P, self.job.case.shape)
        self.forward = lambda: np.asarray(kept, np.float32)

        def function(state: None, kept: Any, dy: Any) -> Any:
            return (self.np.where(kept, dy / (1 - P), 0.0),), state

        return self.compiled(function, None, kept, self.own(self.job.dy))

    def normalise(self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any) -> Any:
        along, jnp = self.job.along, self.np
        y = (x - along(mean)) * along(gamma / jnp.sqrt(var + EPS)) + along(beta)
        return y.astype(x.dtype)

    def moments(self, x: Any) -> tuple[Any, Any]:
        """Return mean and variance, computed in one pass and in float32. This is the default of Flax."""
        x = x.astype(np.float32)
        mean, squares = x.mean(self.job.others), self.np.square(x).mean(self.job.others)
        return mean, self.np.maximum(squares - self.np.square(mean), 0.0)

    def parameters(self) -> list[Any]:
        return [self.own(v) for v in self.job.vectors().values()]

    def bn(self) -> Call:
        job, (gamma, beta, *running) = self.job, self.parameters()
        extra = [self.own(job.residual)] if job.case.residual else []

        def function(running: Any, x: Any, gamma: Any, beta: Any, *residual: Any) -> Any:
            mean, var = self.moments(x)
            y = self.normalise(x, gamma, beta, mean, var)
            if residual:
                y = self.np.maximum(y + residual[0], 0)
            unbiased = var * (job.per_channel / (job.per_channel - 1))
            running = [r + MOMENTUM * (b - r) for r, b in zip(running, (mean, unbiased), strict=True)]
            return (y, *running), running

        return self.compiled(function, running, self.own(job.x), gamma, beta, *extra)

    def bn_inference(self) -> Call:
        def function(state: None, x: Any, *parameters: Any) -> Any:
            return (self.normalise(x, *parameters),), state

        return self.compiled(function, None, self.own(self.job.x), *self.parameters())

    def bn_backward(self) -> Call:
        """Return a function for the backward pass alone. The forward pass runs here, and JAX keeps what it computed."""
        gamma, beta, *_ = self.parameters()

        def forward(x: Any, gamma: Any, beta: Any) -> Any:
            return self.normalise(x, gamma, beta, *self.moments(x))

        transposed = self.jax.jit(lambda *a: self.jax.vjp(forward, *a)[1])(self.own(self.job.x), gamma, beta)
        return self.compiled(lambda state, f, dy: (f(dy), state), None, transposed, self.own(self.job.dy))

    def poison(self) -> None:
        self.last = None  # JAX returns new arrays, and so there are no buffers to fill with nan

    def outputs(self) -> Mapping[str, Array]:
        last: Any = self.last
        result = dict(zip(NAMES[self.job.case.op], (np.asarray(a) for a in last), strict=True))
        return result | ({"forward": self.forward()} if self.job.case.op == "dropout_backward" else {})
