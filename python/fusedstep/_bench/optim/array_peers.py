"""The implementations that step NumPy arrays: fusedstep, the roofline, plain NumPy and Numba."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import fusedstep as fs

from ..common import Unavailable
from . import reference
from .cases import CLIP_NORM, EMA_DECAY
from .job import Job, NumPyRunner


class Ours(NumPyRunner):
    def enter(self) -> None:
        fs.set_num_threads(self.job.threads)

    def prepare(self, job: Job) -> Callable[[], object]:
        if not self.full:
            own = {"state_dtype": job.case.states} if job.case.is_narrow else {}
            return partial(job.cls(self.p, **job.options, **own).step, self.g)
        self.e = []
        optimizer = job.cls(self.p, ema_decay=EMA_DECAY, **job.options)
        self.averages = lambda: list(optimizer.ema)  # type: ignore[method-assign]
        return partial(optimizer.step, self.g, clip_norm=CLIP_NORM, zero_grads=True)


class Roofline(NumPyRunner):
    """A compiled loop that reads and writes as many bytes as an optimizer step.

    The only arithmetic of the loop is to add one array, which stands for the gradient, to other arrays, which stand for
    the parameter and the states. With the option `full` of `Case`, a step also clips the gradients, updates an average
    of the parameters and zeroes the gradients. For such a step, the loop changes two more arrays.
    """

    def prepare(self, job: Job) -> Callable[[], object]:
        core: Any = importlib.import_module("fusedstep._core")
        read = np.concatenate([g.reshape(-1) for g in self.g])
        written = [read.copy() for _ in range(1 + job.states + (2 if self.full else 0))]
        self.refill, self.p, self.g, self.e = None, written, [read], []
        return partial(core.roofline, written, read, job.threads)


class NumPy(NumPyRunner):
    def prepare(self, job: Job) -> Callable[[], object]:
        rule = reference.rule_of(job.case.rule, job.cls, job.options)
        if rule is None:
            raise Unavailable(f"the benchmark has no NumPy code for {job.case.rule}")
        states: list[reference.State] = [{} for _ in self.p]
        return partial(self.run, rule, states, job.options)

    def run(self, rule: reference.Rule, states: list[reference.State], options: dict[str, Any]) -> None:
        self.t += 1
        if self.full:
            coefficient = np.float32(reference.clip_coefficient(reference.norm_of(self.g)))
            for g in self.g:
                g *= coefficient
        for p, g, state in zip(self.p, self.g, states, strict=True):
            rule(p, g, state, self.t, options)
        for p, g, e in zip(self.p, self.g, self.e, strict=False):
            e += (1 - EMA_DECAY) * (p - e)
            g.fill(0)


class Numba(NumPyRunner):
    """One compiled parallel loop over chunks of all tensors, as an experienced user of Numba writes it."""

    def prepare(self, job: Job) -> Callable[[], object]:
        if job.case.rule not in ("Adam", "AdamW"):
            raise Unavailable(f"the benchmark has no Numba kernel for {job.case.rule}")
        kernels: Any = importlib.import_module("fusedstep._bench.optim.numba_kernels")
        self.enter = lambda: kernels.numba.set_num_threads(job.threads)  # type: ignore[method-assign]
        self.enter()
        decay = job.options.get("weight_decay", 0.0)
        step: Callable[[], object] = kernels.adam_step(
            self.p, self.g, self.e, job.options["lr"], decay, CLIP_NORM, EMA_DECAY
        )
        return step
