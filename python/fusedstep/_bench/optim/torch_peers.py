"""The implementations that step torch tensors: the forms of torch.optim, and optimizers of other packages."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from ..common import Unavailable
from .cases import CLIP_NORM, EMA_DECAY
from .job import Job, NumPyRunner

MOST_COMPILED = 16  # largest number of tensors for torch.compile; the compilation for 300 tensors took 136 s


class Torch(NumPyRunner):
    """An optimizer of torch.optim in one of its forms: default, foreach or fused.

    In the full step (see `Case`), torch's foreach functions clip the gradients, update the averages of the parameters
    and zero the gradients. These functions are torch's fastest functions for this purpose.
    """

    def __init__(self, job: Job, form: str = "default") -> None:
        self.torch: Any = importlib.import_module("torch")
        self.torch.set_num_threads(job.threads)  # needed for making the tensors; `enter` sets the number again
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
            raise Unavailable("torch's Muon multiplies in bfloat16; python -m bench.muon compares it with fusedstep's")
        if self.form == "default":
            return cls(self.tp, **job.options)
        if self.form not in inspect.signature(cls).parameters:
            raise Unavailable(f"torch has no {self.form} {job.case.rule}")
        return cls(self.tp, **job.options, **{self.form: True})

    def prepare(self, job: Job) -> Callable[[], object]:
        # The tensors are clones, so that torch allocates their memory (with 64-byte alignment). The NumPy arrays are
        # views of the clones.
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
        with self.torch.no_grad():  # torch's swa_utils.get_ema_multi_avg_fn uses the same operation for averages
            self.torch._foreach_lerp_(self.te, self.tp, 1 - EMA_DECAY)
            self.torch._foreach_zero_(self.tg)


class DeepSpeed(Torch):
    def optimizer(self, job: Job) -> Any:
        if job.case.rule not in ("Adam", "AdamW"):
            raise Unavailable(f"the benchmark uses DeepSpeed for Adam and AdamW, and not for {job.case.rule}")
        adam: Any = importlib.import_module("deepspeed.ops.adam")
        return adam.DeepSpeedCPUAdam(self.tp, **job.options, adamw_mode=job.case.rule == "AdamW")


class Compiled(Torch):
    """`torch.compile(optimizer.step)`, with the learning rate in a tensor. A number would be compiled as a constant."""

    def optimizer(self, job: Job) -> Any:
        count = len(job.case.shapes)
        if count > MOST_COMPILED:
            raise Unavailable(
                f"torch.compile takes minutes for {count} tensors; at most {MOST_COMPILED} tensors are tried"
            )
        options = job.options | {"lr": self.torch.tensor(job.options["lr"])}
        return getattr(self.torch.optim, job.case.rule)(self.tp, **options)

    def prepare(self, job: Job) -> Callable[[], object]:
        forget_compiled(self.torch)
        step: Callable[[], object] = self.torch.compile(super().prepare(job))
        return step


class EightBit(Torch):
    """Adam with 8-bit states from the package `package`."""

    def __init__(self, job: Job, package: str) -> None:
        self.package = package
        super().__init__(job)

    def optimizer(self, job: Job) -> Any:
        forget_compiled(self.torch)
        package: Any = importlib.import_module(self.package)
        return getattr(package, f"{job.case.rule}8bit")(self.tp, **job.options)


def forget_compiled(torch: Any) -> None:
    """Disable the compiler's caches, so that the time of the first step includes the compilation."""
    torch.compiler.config.force_disable_caches = True
