"""The base class of the optimizers. It has the interface of torch's optimizers, and its step calls the kernels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import torch
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from .. import _core, optim
from .._base import checks as _checks
from .._base import runtime
from .._core import StepInfo
from . import _loading, _ranks, rows
from ._blocks import refuse_cut_blocks, refuse_parts
from ._options import settings
from ._state import Binding, Rows, Tensor, sharing

_profiling: Callable[[], bool] = getattr(torch.autograd, "_profiler_enabled")  # noqa: B009 (no attribute in its stub)
_uncompiled: Callable[[Callable[..., Any]], Callable[..., Any]] = getattr(torch, "_disable_dynamo")  # noqa: B009
T = TypeVar("T")


class FusedOptimizer(torch.optim.Optimizer):
    """Base of all optimizers of this package; see `fusedstep.torch.optimizers`."""

    #: The optimizer of `fusedstep` whose update formula and kernel are used.
    kernel: ClassVar[type[optim.Optimizer]]
    #: True if the state of each parameter always contains a counter of steps. torch's SGD, for example, has none.
    counts_steps: ClassVar[bool]
    #: Names of options that the parameter groups of torch's optimizer do not have. A group contains such an option only
    #: if the user gave it.
    extras: ClassVar[tuple[str, ...]]
    # Default options. They are needed if `accelerate` changes the class of torch's optimizer, because then __init__ of
    # this class has not run.
    clip_norm: float | None = None
    clip_value: float | None = None
    skip_nonfinite: bool = False
    decay_scale: float = 1.0
    zero_grads: bool = False
    num_threads: int | None = None
    process_group: Any = None
    _ema_decay: float | None = None
    _master_weights: bool = False
    _seed: int = 0
    _extras: Mapping[str, Any] = {}

    _zero: Any = None  # a weak reference to the ZeroRedundancyOptimizer that has made this optimizer
    _binding: Binding | None = None  # all parameters and states, prepared for the kernel
    _plan: _core.Plan | None = None  # the binding's C++ object that takes steps; None if a step needs `_step_with_care`
    _swapped: _core.Plan | None = None  # inside `averaged` or `lookahead`, the plan whose parameters have other values
    _info: StepInfo | None = None  # the result of the last step
    _steps_rows: bool = False  # True after a step with sparse gradients

    def __init__(
        self,
        params: Any,
        *args: Any,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        decay_scale: float = 1.0,
        ema_decay: float | None = None,
        zero_grads: bool = False,
        num_threads: int | None = None,
        master_weights: bool = False,
        seed: int = 0,
        process_group: Any = None,
        **options: Any,
    ) -> None:
        label = f"{type(self).__name__}: "
        self.clip_norm = None if clip_norm is None else _checks.non_negative(f"{label}clip_norm", clip_norm)
        self.clip_value = None if clip_value is None else _checks.non_negative(f"{label}clip_value", clip_value)
        self.skip_nonfinite = _checks.flag(f"{label}skip_nonfinite", skip_nonfinite)
        self.decay_scale = _checks.non_negative(f"{label}decay_scale", decay_scale)
        self._ema_decay = None if ema_decay is None else _checks.up_to_one(f"{label}ema_decay", ema_decay)
        self.zero_grads = _checks.flag(f"{label}zero_grads", zero_grads)
        self.num_threads = None if num_threads is None else _checks.thread_count(f"{label}num_threads", num_threads)
        self._master_weights = _checks.flag(f"{label}master_weights", master_weights)
        self._seed = _checks.seed(f"{label}seed", seed)
        self.process_group = process_group
        self._zero = _ranks.zero_that_makes_this()
        self._extras = {n: v for n in self.extras if (v := options.pop(n, None)) is not None}
        super().__init__(params, *args, **options)

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """True if the step, not GradScaler, divides the gradients by the scale of the loss.

        It is True if a parameter is float16, because GradScaler cannot divide float16 gradients. If no parameter is
        float16, GradScaler divides the gradients before the step, so that the user can clip them. Lightning refuses to
        clip gradients if this property is True.
        """
        return any(p.dtype == torch.float16 for group in self.param_groups for p in group["params"])

    @_step_supports_amp_scaling.setter
    def _step_supports_amp_scaling(self, value: bool) -> None:
        """Ignore the value, which torch's constructors set for ``fused=True``. That option has no effect here."""

    @property
    def ema_decay(self) -> float | None:
        """Decay of the exponential moving average of the parameters. None if the optimizer has no average."""
        return self._ema_decay

    @property
    def master_weights(self) -> bool:
        """True if the optimizer keeps a float32 master weight for each 16-bit parameter."""
        return self._master_weights

    @property
    def seed(self) -> int:
        """The seed of stochastic rounding."""
        return self._seed

    @property
    def grad_norm(self) -> float | None:
        """The norm of all gradients in the last step, before clipping.

        A step computes the norm if `clip_norm` or `skip_nonfinite` is used, unless the caller gives the norm as the
        argument `grad_norm`. If the norm was neither computed nor given, the value is None.
        """
        return None if self._info is None else self._info.grad_norm

    @property
    def skipped(self) -> bool:
        """True if the last step changed nothing because of `skip_nonfinite`."""
        return self._info is not None and self._info.skipped

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group as torch does, and check its parameters and options."""
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
        """Raise an error if this class cannot step group k of an optimizer. The optimizer may be torch's."""
        group, label = optimizer.param_groups[k], cls.__name__
        dtypes = {p.dtype for p in group["params"]}
        chosen = settings(cls.kernel, group, f"{label}: param_groups[{k}]: ", dtypes)
        trained = [i for i, p in enumerate(group["params"]) if p.requires_grad]
        names = group.get("param_names", [""] * len(group["params"]))
        for i in () if cls.kernel.element_wise or group.get("adamw") else trained:
            refuse_parts(f"{label}: param_groups[{k}]: params[{i}]", group["params"][i])
        for i in trained if chosen.state_dtype == "uint8" else ():
            refuse_cut_blocks(f"{label}: param_groups[{k}]: params[{i}]", group["params"][i])
        local = [_ranks.local_of(group["params"][i]) for i in trained]
        _core.check_tensors(label, Tensor, local, [names[i] for i in trained])

    def _forget(self) -> None:
        self._binding = self._plan = None
        self._singles: dict[Tensor, Binding] = {}

    def step(self, closure: Callable[[], Any] | None = None, *, grad_norm: float | None = None) -> Any:
        """Update all parameters that have a gradient, in place, in one sweep over memory.

        If an error is raised, nothing is changed.

        Parameters
        ----------
        closure : callable, optional
            Evaluates the model again and returns the loss.
        grad_norm : float, optional
            The norm of all gradients, for the options `clip_norm` and `skip_nonfinite`. If it is given, the step does
            not compute the norm. For example, if each process has only a part of the gradients, give the norm of all
            parts together. With `skip_nonfinite`, the step is skipped if and only if `grad_norm` is inf or nan.

        Returns
        -------
        The result of `closure`, or None.
        """
        if (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _global_optimizer_pre_hooks
            or _global_optimizer_post_hooks
            or _profiling()
        ):
            arguments: tuple[Any, ...] = () if closure is None else (closure,)
            options: dict[str, Any] = {} if grad_norm is None else {"grad_norm": grad_norm}
            return _step_with_hooks(self, *arguments, **options)
        return self._step(closure, grad_norm)  # positional arguments, because Python passes them faster

    # torch does not wrap a step that has this attribute. torch's wrapper takes longer than a small step.
    step.hooked = True  # type: ignore[attr-defined]

    def _step(self, closure: Callable[[], Any] | None, grad_norm: float | None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        plan = self._plan
        if plan is None and self._steps_rows and rows.step(self, grad_norm):
            return loss
        info = None
        try:
            if plan is not None and "found_inf" not in self.__dict__:
                info = plan.step(
                    None,
                    None,
                    self.decay_scale,
                    self.clip_norm,
                    self.clip_value,
                    1.0,
                    grad_norm,
                    self.skip_nonfinite,
                    self.zero_grads,
                    self.num_threads,
                )
            if info is None:
                self._step_with_care(grad_norm)
            else:
                self._info = info
        except RuntimeError:  # for example, for sparse gradients
            if not rows.step(self, grad_norm):
                raise
        return loss

    @_uncompiled
    def _step_with_care(self, grad_norm: float | None, rows: Rows | None = None, directed: bool = False) -> None:
        """Take a step for which one call of `_core.Plan.step` may not be enough.

        For example, parameters or states may have been replaced since the last step, or each rank may have only a part
        of the gradients.

        If `directed` is False, `rows` contains the sparse gradients. If `directed` is True, `rows` contains directions
        that replace gradients; see `DirectedSteps`. With ``directed=True``, the caller has more to do. Before the call,
        it computes the norm over all ranks and applies `clip_value`. After the call, it zeroes the gradients of this
        optimizer's parameters if the option `zero_grads` is True.
        """
        self._require_own("step")
        found_inf = self._found_inf()
        scale = self._grad_scale()
        ranks = self._sharing()
        if ranks is not None and not directed and self._needs_ranks(grad_norm):
            found_inf, norm = ranks.decide(lambda: self._squares(rows), found_inf)
            grad_norm = norm / scale if grad_norm is None else grad_norm
        if found_inf:
            return
        bound, zero = (None, False) if directed else (self.clip_value, self.zero_grads)
        clipped = (self.clip_norm, bound, scale, grad_norm, self.skip_nonfinite)
        arguments = (self.decay_scale, *clipped, zero, self.num_threads)
        self._info, binding = self._attempt(lambda binding: binding.step(*arguments, rows=rows))
        if ranks is None:
            self._plan = binding.plan
        elif self.zero_grads:
            _ranks.zero_gradients_of_others(self)

    def _grad_scale(self) -> float:
        """Return the number by which the step divides the gradients. A `GradScaler` sets it. The default is 1."""
        scale = self.__dict__.get("grad_scale")
        return 1.0 if scale is None else float(scale)

    def _found_inf(self) -> bool:
        """Return True if a `GradScaler` has found an inf or nan in this rank's gradients."""
        return "found_inf" in self.__dict__ and bool(self.__dict__["found_inf"].item() != 0)

    def _sharing(self) -> _ranks.Ranks | None:
        """Return the ranks among which the gradients are divided. Return None if this rank has all gradients."""
        return sharing(self) if self._binding is None else self._binding.ranks

    def _needs_ranks(self, grad_norm: float | None) -> bool:
        """Return True if a step makes a decision that must be the same on all ranks."""
        by_norm = grad_norm is None and (self.clip_norm is not None or self.skip_nonfinite)
        return by_norm or "found_inf" in self.__dict__

    def _squares(self, rows: Rows | None) -> list[_ranks.Squares]:
        found, _ = self._attempt(lambda binding: binding.squares(self.zero_grads, self.num_threads, rows))
        return found

    def _attempt(self, action: Callable[[Binding], T | None]) -> tuple[T, Binding]:
        """Return the result of `action`, and the binding with which `action` was called.

        A binding is all parameters and states, prepared for the kernel. `action` returns None if the optimizer has
        changed since the binding was made. `action` is then called once more, with a new binding.
        """
        for _ in range(2):
            binding = self._bound()
            self._plan = None  # the caller restores it after a successful step
            try:
                result = action(binding)
            except BaseException:
                self._forget()  # the binding may have recorded new options before it used them
                raise
            if result is not None:
                return result, binding
            self._forget()
        raise RuntimeError(f"{type(self).__name__}.step: param_groups and state must not change during a step")

    def _bound(self) -> Binding:
        binding = self._binding or self._bind()  # a local name, because another thread may set the attribute to None
        self._binding = binding
        return binding

    def _bind(self) -> Binding:
        if "LOCAL_WORLD_SIZE" in os.environ:
            runtime.warn_of_idle_cores()
        return Binding(self)

    def _require_own(self, method: str) -> None:
        if self._swapped is not None:
            raise RuntimeError(f"{type(self).__name__}.{method}: cannot be called inside {self._swapped.reserved_by}()")

    def step_one(self, p: Tensor) -> None:
        """Update one parameter; see `step_in_backward`."""
        self._step_single(p)

    def _step_single(self, p: Tensor, directions: Rows | None = None) -> None:
        self._require_own("step")
        bound, zero = (self.clip_value, self.zero_grads) if directions is None else (None, False)
        clipped = (None, bound, 1.0, None, self.skip_nonfinite)
        for _ in range(2):
            binding = self._singles.pop(p, None) or Binding(self, only=p)
            if binding.step(self.decay_scale, *clipped, zero, self.num_threads, rows=directions) is not None:
                self._singles[p] = binding
                return
        raise RuntimeError(f"{type(self).__name__}: param_groups and state must not change during a step")

    def _of_model(self, p: Tensor) -> Tensor:
        """Return the model's parameter whose gradient steps `p`. It is `p` itself, except in `OffloadedOptimizer`."""
        return p

    def _drop_gradient(self, p: Tensor) -> None:
        p.grad = None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Remove the gradients or set them to zero, as torch does."""
        if not set_to_none or _profiling():
            super().zero_grad(set_to_none)
            return
        for group in self.param_groups:
            _core.drop_gradients(group["params"])

    def state_dict(self) -> dict[str, Any]:
        """Return a dict with the format of torch's optimizer of the same name.

        With `master_weights`, the state of a bfloat16 parameter contains checksums of the parameter, ``"low_sum"``. If
        this rank has only a part of the parameter, the dict does not contain these checksums. Then the first step after
        a load computes them.
        """
        return _loading.without_sums_of_parts(self, super().state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict of this optimizer, or of torch's optimizer of the same name.

        If an error is raised, nothing is changed.

        Raises
        ------
        ValueError
            If a state does not have its parameter's shape, an option is not valid, or a state or an option is missing.
        """
        before = self.state, self.param_groups
        try:
            super().load_state_dict(state_dict)
            _loading.finish(self, before[1], state_dict)
            self._forget()
            Binding(self)
            _loading.forget_sums(self, state_dict)
        except BaseException as error:  # also for Ctrl-C
            self.state, self.param_groups = before
            self._forget()
            if isinstance(error, KeyError):  # torch raises a KeyError if an entry is missing
                name = type(self).__name__
                need = f"state_dict must be that of an optimizer {name}"
                raise ValueError(f"{name}.load_state_dict: {need}; missing {error}") from error
            raise

    def __getstate__(self) -> dict[str, Any]:
        own = ["clip_norm", "clip_value", "skip_nonfinite", "decay_scale", "_ema_decay", "zero_grads", "num_threads"]
        own += ["_master_weights", "_seed", "_extras", "process_group", "_zero"]
        return {**super().__getstate__(), **{name: getattr(self, name) for name in own}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._forget()
        for group in self.param_groups:
            for name, value in self._extras.items():
                group.setdefault(name, value)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Return a context in which the parameters have the values of their averages.

        The averages are swapped into the parameters in place. At the end of the context, the parameters get back their
        old values, bit for bit. The averages are the exponential moving averages that `ema_decay` switches on. A
        schedule-free optimizer without `ema_decay` uses its own averages.

        Raises
        ------
        RuntimeError
            If the optimizer has no averages, or if a step is taken inside the context.
        """
        with self._put("averaged", self._averages()):
            yield

    #: Returns the averages of a schedule-free optimizer. None for all other optimizers.
    _own_averages: Callable[[], dict[Tensor, Tensor]] | None = None

    def _averages(self) -> dict[Tensor, Tensor]:
        if self.ema_decay is None and self._own_averages is not None:
            return self._own_averages()
        if self.ema_decay is None:
            raise RuntimeError(f"{type(self).__name__}.averaged: ema_decay must be given to the optimizer; it was None")
        return {p: ema for p, entry in self.state.items() if (ema := entry.get("ema")) is not None}

    @contextmanager
    def _put(self, method: str, values: dict[Tensor, Tensor]) -> Iterator[None]:
        """Return a context in which each parameter in `values` has the given value.

        At the end of the context, the parameters get back their old values.
        `method` is the name of the public method, for error messages.
        """
        self._require_own(method)
        binding = self._bound()
        plan, holder = binding.plan, object()
        copies = [
            _ranks.local_of(_copy_like(m.param, values[m.param])) if m.param in values else None
            for m in binding.members
        ]
        try:
            plan.reserve(method, holder)
            self._swapped = plan
            plan.swap(copies)
            _ranks.spread_parameters(self)
            yield
        finally:
            plan.release(holder)
            self._swapped = None
            _ranks.spread_parameters(self)


@torch.no_grad()
def _copy_like(p: Tensor, value: Tensor) -> Tensor:
    return torch.empty_like(p, requires_grad=False).copy_(value)


def _any_step(
    optimizer: FusedOptimizer, closure: Callable[[], Any] | None = None, *, grad_norm: float | None = None
) -> Any:
    return optimizer._step(closure, grad_norm)


_step_with_hooks = torch.optim.Optimizer.profile_hook_step(_any_step)


def _leave_to_python(*functions: Any) -> None:
    """Exclude the functions in the arguments, and all functions that they call, from torch's compiler.

    The functions in the arguments are marked in place.

    Compiled code that calls one of these functions has one graph break at this call.

    `torch.compiler.disable` is not used, because it would add a Python function call to each call of these functions.
    """
    frames: Any = torch._C._dynamo.eval_frame
    for function in functions:
        function._torchdynamo_disable = True
        if hasattr(frames, "set_code_exec_strategy"):
            skip = frames._FrameExecStrategy(frames._FrameAction.SKIP, frames._FrameAction.SKIP)
            frames.set_code_exec_strategy(function.__code__, skip)


_leave_to_python(FusedOptimizer.step, FusedOptimizer.zero_grad)
