"""Replaces a model's layers and its optimizer by ours, in place."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.nn import Module

from . import batch_norm, dropout, optimizers
from ._base import FusedOptimizer
from ._memory import known
from ._trial import Trial, try_layers, try_optimizer

#: torch's class -> ours, which has the same state and more options, all off.
OURS: dict[type[Module], type[Module]] = {
    torch.nn.Dropout: dropout.Dropout,
    torch.nn.BatchNorm1d: batch_norm.BatchNorm1d,
    torch.nn.BatchNorm2d: batch_norm.BatchNorm2d,
    torch.nn.BatchNorm3d: batch_norm.BatchNorm3d,
}


@dataclass(frozen=True)
class Acceleration:
    """The result of `accelerate`. As text it is a report.

    Attributes
    ----------
    layers : tuple of str
        Names of the replaced layers.
    optimizer : str
        The class of the optimizer if it was replaced; else empty.
    seconds : dict of (float, float)
        Median times of ours and of torch's. "layers" is a forward and backward pass of the model, "optimizer" a step.
    left : dict of str
        What was not replaced, and why.
    """

    layers: tuple[str, ...] = ()
    optimizer: str = ""
    seconds: dict[str, tuple[float, float]] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"layers: {len(self.layers)} replaced{self._times('layers')}"] if self.layers else []
        lines += [f"optimizer: {self.optimizer} replaced{self._times('optimizer')}"] if self.optimizer else []
        lines += [f"{what}: not replaced, {why}{self._times(what)}" for what, why in self.left.items()]
        return "\n".join(lines) or "nothing to replace"

    def _times(self, what: str) -> str:
        if what not in self.seconds:
            return ""
        ours, theirs = (_microseconds(s) for s in self.seconds[what])
        return f" ({ours} us, torch's {theirs} us)"


def _microseconds(seconds: float) -> str:
    """Return a time with three digits, or all digits before the point, without an exponent."""
    return f"{1e6 * seconds:,.0f}" if seconds >= 1e-4 else f"{1e6 * seconds:.3g}"


def accelerate(
    model: Module, optimizer: torch.optim.Optimizer | None = None, loss: Callable[[Any], torch.Tensor] | None = None
) -> Acceleration:
    r"""Replace a model's dropout and batch normalisation layers, and its optimizer, by ours, in place.

    ::

        torch.nn.Dropout, BatchNorm1d, BatchNorm2d, BatchNorm3d,
        torch.optim.SGD, Adagrad, ...                            -> the class of that name in fusedstep.torch

    Layers and optimizer remain the same objects, with their names, parameters, buffers, state, modes and hooks, in the
    same model and learning rate schedule. Only their classes change, and with them `forward` and `step`.

    Parameters
    ----------
    model : torch.nn.Module
        Any model, or one layer.
    optimizer : torch.optim.Optimizer, optional
        One of torch's. A step is tried on copies first. The optimizer is replaced only if ours makes the same step in
        less time.
    loss : function of a model, optional
        Returns the loss of a batch, ``lambda model: criterion(model(x), y)``, the same batch each time. If it is
        given, the layers are tried on copies too, and replaced only if ours give the same gradients in less time.
        Without it, all are replaced.

    Returns
    -------
    Acceleration
        What was replaced, the measured times, and what was not replaced and why. ``print`` it.

    Raises
    ------
    TypeError
        If an argument is not as described. An error of `loss` is raised before anything is changed.

    Notes
    -----
    Subclasses of torch's layers and optimizers (``SyncBatchNorm``, lazy or quantized layers, your own) stay, because
    they may compute something else. Layers with parameters or buffers that the kernels do not support are not
    replaced either, nor are layers and optimizers whose instance has its own `forward` or `step`, except a `step` of a
    schedule. The model computes the same as before, except for rounding and for the dropout masks of a seed. Call
    `accelerate` before ``torch.compile``. A second call changes nothing. The trials need memory for two more copies of
    the model and of the optimizer.

    Examples
    --------
    >>> import torch
    >>> from fusedstep.torch import accelerate
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.1))
    >>> print(accelerate(model))
    layers: 2 replaced
    >>> type(model[1]).__module__
    'fusedstep.torch.batch_norm'
    """
    if not isinstance(model, Module):
        raise TypeError(f"accelerate: model must be a torch.nn.Module; got {type(model).__name__}")
    if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"accelerate: optimizer must be a torch.optim.Optimizer; got {type(optimizer).__name__}")
    if loss is not None and not callable(loss):
        raise TypeError(f"accelerate: loss must be a function of a model; got {type(loss).__name__}")
    layers = replaceable_layers(model)
    report = Acceleration(tuple(layers))
    with torch.random.fork_rng(devices=[]):
        if loss is not None and layers and not _passes(report, "layers", try_layers(model, loss, replace_layers)):
            layers, report = {}, replace(report, layers=())
        if optimizer is not None and (reason := why_left(optimizer)):
            report.left["optimizer"] = reason
        elif optimizer is not None and _passes(report, "optimizer", try_optimizer(optimizer, replace_optimizer)):
            report = replace(report, optimizer=type(optimizer).__name__)
    for layer in layers.values():
        layer.__class__ = OURS[type(layer)]
    if report.optimizer:
        replace_optimizer(optimizer)
    return report


def _passes(report: Acceleration, what: str, trial: Trial) -> bool:
    """Add a trial to the report; return True if ours should be used."""
    if trial.theirs:
        report.seconds[what] = trial.ours, trial.theirs
    if trial.reason:
        report.left[what] = trial.reason
    return not trial.reason


def replaceable_layers(model: Module) -> dict[str, Module]:
    """Return the layers that one of our classes can replace, by name."""
    return {name: m for name, m in model.named_modules() if type(m) in OURS and is_supported(m)}


def replace_layers(model: Module) -> None:
    """Replace the classes of all replaceable layers."""
    for layer in replaceable_layers(model).values():
        layer.__class__ = OURS[type(layer)]


def is_supported(layer: Module) -> bool:
    """Return True if the layer has its class's `forward`, and tensors that the kernels support."""
    tensors = (t for t in (*layer.parameters(), *layer.buffers()) if t.is_floating_point())
    return "forward" not in vars(layer) and all(known(t) for t in tensors)


def our_class(optimizer: torch.optim.Optimizer) -> type[FusedOptimizer] | None:
    """Return our class for an optimizer whose class is exactly torch's."""
    name = type(optimizer).__name__
    theirs = getattr(torch.optim, name, None)
    ours: type[FusedOptimizer] | None = vars(optimizers).get(name) if type(optimizer) is theirs else None
    return ours if ours is not None and issubclass(ours, type(optimizer)) else None


def why_left(optimizer: torch.optim.Optimizer) -> str:
    """Return why an optimizer cannot be replaced; empty if it can."""
    if isinstance(optimizer, FusedOptimizer):
        return "its class is already fusedstep's"
    ours = our_class(optimizer)
    if ours is None:
        return f"fusedstep.torch has no class for {type(optimizer).__module__}.{type(optimizer).__name__}"
    step = vars(optimizer).get("step")
    if step is not None and not hasattr(step, "_wrapped_by_lr_sched"):
        return "its step was replaced"
    try:
        for k in range(len(optimizer.param_groups)):
            ours.check_group(optimizer, k)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


def replace_optimizer(optimizer: Any) -> None:
    """Replace the class of an optimizer."""
    followed = vars(optimizer).pop("step", None) is not None
    optimizer.__class__ = our_class(optimizer)
    optimizer._forget()
    if followed:
        _follow(optimizer)


def _follow(optimizer: Any) -> None:
    """Wrap `step` as learning rate schedules do, so that they count each step."""
    step, reference = type(optimizer).step, weakref.ref(optimizer)

    @functools.wraps(step)
    def followed(*args: Any, **options: Any) -> Any:
        alive: Any = reference()
        alive._opt_called = True
        return step(alive, *args, **options)

    followed._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    optimizer.step = followed
