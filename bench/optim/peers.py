"""The implementations that are timed, ours among them: each in the strongest form that a user can choose.

A peer is built for one case from the same numbers as all others and keeps its own memory. What a peer does
not have is an `Unavailable`, which becomes a line of the table.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

import fusedstep as fs

from .. import common
from ..common import Array, Unavailable, random_array
from . import reference
from .cases import CLIP_NORM, EMA_DECAY, Case, count_state, default_of


@dataclass
class Job:
    """A case with its numbers."""

    case: Case
    threads: int
    seed: int = 0

    def with_threads(self, threads: int | None) -> Job:
        """Return the same job with another number of threads."""
        job = copy(self)
        job.threads = self.threads if threads is None else threads
        return job

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.case.options)

    @property
    def cls(self) -> Any:
        """Our optimizer."""
        return fs.optim.registry[self.case.rule]

    @cached_property
    def states(self) -> int:
        """Streams of state of the rule."""
        return count_state(self.cls, self.case.options)

    def params(self) -> list[Array]:
        return [random_array(shape, (self.seed, 0, i)) for i, shape in enumerate(self.case.shapes)]

    @cached_property
    def gradients(self) -> list[Array]:
        """Never written: runners copy from here."""
        return [random_array(shape, (self.seed, 1, i)) for i, shape in enumerate(self.case.shapes)]


class NumPyRunner:
    """Parameters, gradients and moving averages in NumPy arrays; what steps them is up to the subclass."""

    in_place = True  # False: the gradients are values that the step cannot zero

    def __init__(self, job: Job) -> None:
        self.job, self.full, self.t = job, job.case.full, 0
        self.p, self.g = job.params(), [g.copy() for g in job.gradients]
        self.e = [p.copy() for p in self.p] if self.full else []
        self.refill: Callable[[], None] | None = self.load if self.full else None
        self.step: Callable[[], object] = self.prepare(job)

    def prepare(self, job: Job) -> Callable[[], object]:
        raise NotImplementedError

    def enter(self) -> None:
        """Prepare, untimed, for a sample of this runner."""

    def load(self, scale: float = 1.0) -> None:
        """Gradients afresh, times `scale`."""
        for source, g in zip(self.job.gradients, self.g, strict=True):
            np.multiply(source, np.float32(scale), out=g)

    def params(self) -> list[Array]:
        return self.p

    def averages(self) -> list[Array]:
        return self.e

    def grads(self) -> list[Array]:
        return self.g


class Ours(NumPyRunner):
    def enter(self) -> None:
        fs.set_num_threads(self.job.threads)

    def prepare(self, job: Job) -> Callable[[], object]:
        if not self.full:
            return partial(job.cls(self.p, **job.options).step, self.g)
        self.e = []
        optimizer = job.cls(self.p, ema_decay=EMA_DECAY, **job.options)
        self.averages = lambda: list(optimizer.ema)  # type: ignore[method-assign]
        return partial(optimizer.step, self.g, clip_norm=CLIP_NORM, zero_grads=True)


class Roofline(NumPyRunner):
    """The streams of the step in place with one add each, one array per stream: no mathematics, no tensors.

    The full step's norm pass and its zeroed gradient are a stream that is read and one that is also written.
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
            raise Unavailable(f"no NumPy transcription of {job.case.rule}")
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
    """One parallel loop over chunks of all tensors, compiled; written as a user who knows Numba would."""

    def prepare(self, job: Job) -> Callable[[], object]:
        if job.case.rule not in ("Adam", "AdamW"):
            raise Unavailable(f"no kernel written for {job.case.rule}")
        kernels: Any = importlib.import_module("bench.optim.numba_kernels")
        self.enter = lambda: kernels.numba.set_num_threads(job.threads)  # type: ignore[method-assign]
        self.enter()
        decay = job.options.get("weight_decay", 0.0)
        step: Callable[[], object] = kernels.adam_step(
            self.p, self.g, self.e, job.options["lr"], decay, CLIP_NORM, EMA_DECAY
        )
        return step


class Torch(NumPyRunner):
    """torch.optim in one of its three forms; around it, the strongest form of everything else."""

    def __init__(self, job: Job, form: str = "default") -> None:
        self.torch: Any = importlib.import_module("torch")
        self.torch.set_num_threads(job.threads)  # before anything is built, and before each sample
        self.form = form
        self.p, self.g, self.e = [], [], []
        super().__init__(job)

    def enter(self) -> None:
        self.torch.set_num_threads(self.job.threads)

    def optimizer(self, job: Job) -> Any:
        cls = getattr(self.torch.optim, job.case.rule, None)
        if cls is None:
            raise Unavailable(f"torch has no {job.case.rule}")
        if job.case.rule == "Muon":
            raise Unavailable("not the same products: python -m bench.muon")
        if self.form == "default":
            return cls(self.tp, **job.options)
        if self.form not in inspect.signature(cls).parameters:
            raise Unavailable(f"torch has no {self.form} {job.case.rule}")
        return cls(self.tp, **job.options, **{self.form: True})

    def prepare(self, job: Job) -> Callable[[], object]:
        # Cloned, so that torch works on memory of its own making (64-byte aligned); NumPy sees it as views.
        self.tp = [self.torch.from_numpy(p).clone().requires_grad_() for p in self.p]
        self.te = [self.torch.from_numpy(e).clone() for e in self.e]
        for p, g in zip(self.tp, self.g, strict=True):
            p.grad = self.torch.from_numpy(g).clone()
        self.tg = [p.grad for p in self.tp]
        self.p, self.g, self.e = ([t.detach().numpy() for t in ts] for ts in (self.tp, self.tg, self.te))
        optimizer = self.optimizer(job)
        return partial(self.sequence, optimizer.step) if self.full else optimizer.step

    def sequence(self, step: Callable[[], object]) -> None:
        self.torch.nn.utils.clip_grad_norm_(self.tp, CLIP_NORM, foreach=True)
        step()
        with self.torch.no_grad():  # what swa_utils.get_ema_multi_avg_fn does
            self.torch._foreach_lerp_(self.te, self.tp, 1 - EMA_DECAY)
            self.torch._foreach_zero_(self.tg)


class DeepSpeed(Torch):
    def optimizer(self, job: Job) -> Any:
        if job.case.rule not in ("Adam", "AdamW"):
            raise Unavailable(f"no DeepSpeedCPUAdam for {job.case.rule}")
        adam: Any = importlib.import_module("deepspeed.ops.adam")
        return adam.DeepSpeedCPUAdam(self.tp, **job.options, adamw_mode=job.case.rule == "AdamW")


def optax_rule(optax: Any, rule: str, options: dict[str, Any]) -> Any:
    """Return the rule with torch's constants, which are ours too."""
    lr = options["lr"]
    table: dict[str, Callable[[], Any]] = {
        "SGD": lambda: optax.sgd(lr, options.get("momentum"), options.get("nesterov", False)),
        # optax adds eps inside the root; this small, it only guards against a zero, as in torch
        "Adagrad": lambda: optax.adagrad(lr, initial_accumulator_value=0.0, eps=1e-20),
        "Adadelta": lambda: optax.adadelta(lr, 0.9, 1e-6),
        "RMSprop": lambda: optax.rmsprop(lr, 0.99, 1e-8, eps_in_sqrt=False),
        "Adam": lambda: optax.adam(lr),
        "AdamW": lambda: optax.adamw(lr, weight_decay=options["weight_decay"]),
        "Lion": lambda: optax.lion(lr, weight_decay=default_of(fs.optim.registry["Lion"], "weight_decay", 0.0)),
    }
    if rule not in table:
        raise Unavailable(f"optax has no {rule} in this form")
    return table[rule]()


class Jax(NumPyRunner):
    """One compiled function with the old parameters, state and averages donated to it."""

    in_place = False

    def prepare(self, job: Job) -> Callable[[], object]:
        if job.case.threads and job.threads < max(job.case.threads):
            raise Unavailable("its threads are those of the process")
        self.jax: Any = importlib.import_module("jax")
        optax: Any = importlib.import_module("optax")
        rule = optax_rule(optax, job.case.rule, job.options)
        if self.full:
            rule = optax.chain(optax.clip_by_global_norm(CLIP_NORM), rule)
        self.refill = None  # nothing to refill: the step leaves its gradients alone

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
        self.values[0][0].block_until_ready()  # one program: its outputs become ready together

    def load(self, scale: float = 1.0) -> None:
        self.device_g = self.own([g * np.float32(scale) for g in self.job.gradients])

    def params(self) -> list[Array]:
        return [np.asarray(p) for p in self.values[0]]

    def averages(self) -> list[Array]:
        return [np.asarray(e) for e in self.values[2]]


@dataclass(frozen=True)
class Peer:
    """A line of the table: `temporaries` counts arrays of the tensor's size that a step allocates."""

    name: str
    build: Callable[[Job], NumPyRunner]
    needs: tuple[str, ...] = ()
    temporaries: int = 0
    note: str = ""
    threads: int | None = None  # None: what all may use

    def missing(self) -> list[str]:
        return common.missing(self.needs)


OURS, ROOFLINE = "fusedstep", "roofline"
PEERS = (  # ordered by interest: where memory is short, the last are left out
    Peer(OURS, Ours),
    Peer(ROOFLINE, Roofline, note="the same streams in place, one add each"),
    Peer("torch fused", partial(Torch, form="fused"), ("torch",)),
    Peer("jax+optax", Jax, ("jax", "optax"), note="compiled, donated; full step: gradients are not zeroed"),
    Peer("numba", Numba, ("numba",), note="one parallel kernel over all tensors"),
    Peer("deepspeed", DeepSpeed, ("torch", "deepspeed"), note="DeepSpeedCPUAdam"),
    Peer("torch foreach", partial(Torch, form="foreach"), ("torch",), temporaries=3),
    Peer("torch default", Torch, ("torch",), temporaries=2),
    Peer("numpy", NumPy, temporaries=3, note="the floor; one thread"),
)


def line_up(case: Case, peers: tuple[Peer, ...]) -> tuple[Peer, ...]:
    """Return the implementations of a case, once for each number of threads if it varies."""
    chosen = tuple(peer for peer in peers if not case.peers or peer.name in case.peers)
    if not case.threads:
        return chosen
    return tuple(replace(peer, name=f"{peer.name}{AT}{n}", threads=n) for n in case.threads for peer in chosen)


AT = " @"  # between the name of a peer and its number of threads
