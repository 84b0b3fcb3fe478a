"""What the optimizers share: torch's side of an optimizer, with the step of the kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from .. import _core, optim
from ..optim import _checks
from ._options import settings
from ._state import Binding, Tensor

_profiling: Callable[[], bool] = getattr(torch.autograd, "_profiler_enabled")  # noqa: B009 (no attribute in its stub)
_uncompiled: Callable[[Callable[..., Any]], Callable[..., Any]] = getattr(torch, "_disable_dynamo")  # noqa: B009
_compiling: Callable[[], bool] = torch.compiler.is_dynamo_compiling


class FusedOptimizer(torch.optim.Optimizer):
    """Base of all optimizers of this package; see `fusedstep.torch.optimizers`."""

    #: The optimizer of `fusedstep` whose rule is used.
    kernel: ClassVar[type[optim.Optimizer]]
    #: Whether the state has a counter of steps, as torch's has.
    counts_steps: ClassVar[bool]
    #: Options of a group that torch does not know; a group has them only if they were asked for.
    extras: ClassVar[tuple[str, ...]]
    _binding: Binding | None = None
    _plan: _core.TensorPlan | None = None  # of the binding, if a step needs nothing else
    _lent = ""  # names the context that has other values in the parameters

    def __init__(
        self,
        params: Any,
        *args: Any,
        clip_norm: float | None = None,
        ema_decay: float | None = None,
        zero_grads: bool = False,
        num_threads: int | None = None,
        **options: Any,
    ) -> None:
        label = f"{type(self).__name__}: "
        self.clip_norm = None if clip_norm is None else _checks.non_negative(f"{label}clip_norm", clip_norm)
        self._ema_decay = None if ema_decay is None else _checks.up_to_one(f"{label}ema_decay", ema_decay)
        self.zero_grads = _checks.flag(f"{label}zero_grads", zero_grads)
        self.num_threads = None if num_threads is None else _checks.thread_count(f"{label}num_threads", num_threads)
        self._extras = {n: v for n in self.extras if (v := options.pop(n, None)) is not None}
        super().__init__(params, *args, **options)

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether GradScaler leaves the division to the step.

        It refuses to divide float16 gradients itself. All others it divides before the step, so that they can be
        clipped in between: Lightning refuses to clip where this is true.
        """
        return any(p.dtype == torch.float16 for group in self.param_groups for p in group["params"])

    @_step_supports_amp_scaling.setter
    def _step_supports_amp_scaling(self, value: bool) -> None:
        """Take no notice: torch's constructors set it for ``fused=True``, which is accepted and ignored."""

    @property
    def ema_decay(self) -> float | None:
        """Decay of the average that follows the parameters; None without one."""
        return self._ema_decay

    @property
    def grad_norm(self) -> float | None:
        """The norm of all gradients in the last step, before clipping; None unless `clip_norm` asked for it."""
        return None if self._binding is None else self._binding.plan.info.grad_norm

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as torch does, after checks of its parameters and options."""
        self.defaults.update(self._extras)
        super().add_param_group(param_group)
        try:
            self.check_group(self, len(self.param_groups) - 1)
        except Exception:
            self.param_groups.pop()
            raise
        self._forget()

    @classmethod
    def check_group(cls, optimizer: torch.optim.Optimizer, k: int) -> None:
        """Raise unless a step of this class can take a group of the optimizer, which may be one of torch's."""
        group, label = optimizer.param_groups[k], cls.__name__
        settings(cls.kernel, group, f"{label}: param_groups[{k}]: ")
        trained = [i for i, p in enumerate(group["params"]) if p.requires_grad]
        names = group.get("param_names", [""] * len(group["params"]))
        _core.check_tensors(label, Tensor, [group["params"][i] for i in trained], [names[i] for i in trained])

    def _forget(self) -> None:
        self._binding = self._plan = None
        self._singles: dict[Tensor, Binding] = {}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient, in place, in one sweep over memory.

        Either all of it happens or, if an error is raised, nothing.

        Parameters
        ----------
        closure : callable, optional
            Evaluates the model again and returns the loss.

        Returns
        -------
        What `closure` returned, or None.
        """
        if _compiling():
            return _step_outside_of_graphs(self, closure)
        if (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _global_optimizer_pre_hooks
            or _global_optimizer_post_hooks
            or _profiling()
        ):
            return _step_with_hooks(self) if closure is None else _step_with_hooks(self, closure)
        return self._step(closure)

    # Keeps torch from wrapping `step` into a profiler's record, which costs more than a small step does.
    step.hooked = True  # type: ignore[attr-defined]

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        plan = self._plan
        if (
            plan is None
            or "found_inf" in self.__dict__
            or plan.step(self.clip_norm, 1.0, self.zero_grads, self.num_threads)
        ):
            self._step_with_care()
        return loss

    @_uncompiled
    def _step_with_care(self) -> None:
        """Step where something is new, or where a step is more than a call of the kernels."""
        if self._lent:
            raise RuntimeError(f"{type(self).__name__}.step: not inside {self._lent}()")
        if "found_inf" in self.__dict__ and self.__dict__["found_inf"].item() != 0:
            return
        scale = self.__dict__.get("grad_scale")
        scale = 1.0 if scale is None else float(scale)
        for _ in range(2):
            binding = self._binding = self._binding or Binding(self)
            if binding.step(self.clip_norm, scale, self.zero_grads, self.num_threads):
                self._plan = None if binding.stand_ins else binding.plan
                return
            self._forget()
        raise RuntimeError(f"{type(self).__name__}.step: its groups or state were changed during a step")

    def step_one(self, p: Tensor) -> None:
        """Update one parameter; see `step_in_backward`."""
        for _ in range(2):
            binding = self._singles.get(p) or Binding(self, only=p)
            self._singles[p] = binding
            if binding.step(None, 1.0, self.zero_grads, self.num_threads):
                return
            del self._singles[p]
        raise RuntimeError(f"{type(self).__name__}: its groups or state were changed during a step")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, or set them to zero; as torch does."""
        if _compiling():
            return _zero_outside_of_graphs(self, set_to_none)
        if not set_to_none or _profiling():
            super().zero_grad(set_to_none)
            return
        for group in self.param_groups:
            _core.drop_gradients(group["params"])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what torch's optimizer of this name or this one has saved: all of it or, if an error is raised, nothing.

        Raises
        ------
        ValueError
            If a state's shape is not that of its parameter, an option is not as it must be, or one of them is missing.
        """
        before = self.state, self.param_groups
        try:
            super().load_state_dict(state_dict)
            self._check_options()
            self._restore_averages(state_dict)
            self._forget()
            Binding(self)
        except Exception as error:
            self.state, self.param_groups = before
            if isinstance(error, KeyError):  # torch's own, of an entry that every state of this optimizer has
                name = type(self).__name__
                raise ValueError(f"{name}.load_state_dict: state_dict must be of {name}; it lacks {error}") from error
            raise

    def _check_options(self) -> None:
        """Refuse what another optimizer has saved: it lacks options, and a step would take defaults for them."""
        where = f"{type(self).__name__}.load_state_dict: param_groups"
        for k, group in enumerate(self.param_groups):
            for name in self.kernel.checks:
                if name not in group and name not in self.extras:
                    raise ValueError(f"{where}[{k}] must have {name!r}; got {list(group)}")

    def _restore_averages(self, state_dict: dict[str, Any]) -> None:
        """Averages of 16-bit parameters are float32: undo torch's cast to the parameter's dtype."""
        saved = [k for group in state_dict["param_groups"] for k in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for k, p in zip(saved, params, strict=True):
            average = state_dict["state"].get(k, {}).get("ema")
            if average is not None:
                self.state[p]["ema"] = average.detach().clone()

    def __getstate__(self) -> dict[str, Any]:
        own = ("clip_norm", "_ema_decay", "zero_grads", "num_threads", "_extras")
        return {**super().__getstate__(), **{name: self.__dict__[name] for name in own}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._forget()
        for group in self.param_groups:
            for name, value in self._extras.items():
                group.setdefault(name, value)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the averages into the parameters, in place, and the parameters back at the end, bit for bit.

        Raises
        ------
        RuntimeError
            Without `ema_decay`; for a step inside.
        """
        if self.ema_decay is None:
            raise RuntimeError(f"{type(self).__name__}.averaged: needs ema_decay; it was None")
        values = {p: entry["ema"] for p, entry in self.state.items() if "ema" in entry}
        with self._lend("averaged", values):
            yield

    @contextmanager
    def _lend(self, name: str, values: dict[Tensor, Tensor]) -> Iterator[None]:
        if self._lent:
            raise RuntimeError(f"{type(self).__name__}.{name}: not inside {self._lent}()")
        kept = {p: p.detach().clone() for p in values}
        self._lent, self._plan = name, None
        try:
            _copy(values)
            yield
        finally:
            _copy(kept)
            self._lent = ""


@torch.no_grad()
def _copy(values: dict[Tensor, Tensor]) -> None:
    for p, value in values.items():
        p.copy_(value)


@_uncompiled  # one break of a compiled graph, whatever the step does
def _step_outside_of_graphs(optimizer: FusedOptimizer, closure: Callable[[], Any] | None) -> Any:
    return optimizer.step(closure)


@_uncompiled
def _zero_outside_of_graphs(optimizer: FusedOptimizer, set_to_none: bool) -> None:
    optimizer.zero_grad(set_to_none)


_step_with_hooks = torch.optim.Optimizer.profile_hook_step(FusedOptimizer._step)


def _leave_to_python(*functions: Any) -> None:
    """Keep torch's compiler from going on with the frames of a step after the break of the graph that it is."""
    frames: Any = torch._C._dynamo.eval_frame
    if hasattr(frames, "set_code_exec_strategy"):
        skip = frames._FrameExecStrategy(frames._FrameAction.SKIP, frames._FrameAction.DEFAULT)
        for function in functions:
            frames.set_code_exec_strategy(function.__code__, skip)


_leave_to_python(FusedOptimizer.step, FusedOptimizer._step, FusedOptimizer.zero_grad)
