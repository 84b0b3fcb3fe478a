"""Optax's optimizers, compiled by JAX."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

import fusedstep as fs

from ..common import Array, Unavailable
from .cases import CLIP_NORM, EMA_DECAY, default_of
from .job import Job, NumPyRunner


def optax_rule(optax: Any, rule: str, options: dict[str, Any]) -> Any:
    """Return optax's optimizer with the constants of torch and fusedstep."""
    lr = options["lr"]
    table: dict[str, Callable[[], Any]] = {
        "SGD": lambda: optax.sgd(lr, options.get("momentum"), options.get("nesterov", False)),
        # optax adds eps before it takes the root, and torch afterwards. This eps only prevents a division by zero.
        "Adagrad": lambda: optax.adagrad(lr, initial_accumulator_value=0.0, eps=1e-20),
        "Adadelta": lambda: optax.adadelta(lr, 0.9, 1e-6),
        "RMSprop": lambda: optax.rmsprop(lr, 0.99, 1e-8, eps_in_sqrt=False),
        "Adam": lambda: optax.adam(lr),
        "AdamW": lambda: optax.adamw(lr, weight_decay=options["weight_decay"]),
        "Lion": lambda: optax.lion(lr, weight_decay=default_of(fs.optim.registry["Lion"], "weight_decay", 0.0)),
    }
    if rule not in table:
        raise Unavailable(f"the benchmark has no {rule} from optax")
    return table[rule]()


class Jax(NumPyRunner):
    """One compiled function. The old parameters, states and averages are donated: JAX may write into their memory."""

    in_place = False

    def prepare(self, job: Job) -> Callable[[], object]:
        if job.case.threads and job.threads < max(job.case.threads):
            raise Unavailable("JAX uses all threads of the process")
        self.jax: Any = importlib.import_module("jax")
        optax: Any = importlib.import_module("optax")
        rule = optax_rule(optax, job.case.rule, job.options)
        if self.full:
            rule = optax.chain(optax.clip_by_global_norm(CLIP_NORM), rule)
        self.refill = None  # nothing to refill, because the step does not change its gradients

        def update(p: Any, state: Any, e: Any, g: Any) -> Any:
            updates, state = rule.update(g, state, p)
            p = optax.apply_updates(p, updates)
            return p, state, optax.incremental_update(p, e, 1 - EMA_DECAY) if e else e

        p, self.device_g, e = (self.own(a) for a in (self.p, self.g, self.e))
        self.p, self.g, self.e = [], [], []
        self.values = (p, rule.init(p), e)
        self.update = self.jax.jit(update, donate_argnums=(0, 1, 2))
        return self.run

    def own(self, arrays: list[Array]) -> list[Any]:
        return [self.jax.numpy.array(a, copy=True) for a in arrays]

    def run(self) -> None:
        self.values = self.update(*self.values, self.device_g)
        self.values[0][0].block_until_ready()  # all outputs of one program become ready at the same time

    def load(self, scale: float = 1.0) -> None:
        self.device_g = self.own([g * np.float32(scale) for g in self.job.gradients])

    def params(self) -> list[Array]:
        return [np.asarray(p) for p in self.values[0]]

    def averages(self) -> list[Array]:
        return [np.asarray(e) for e in self.values[2]]
