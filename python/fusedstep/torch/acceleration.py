"""Replaces the classes of torch's layers and optimizers by fusedstep's classes. The objects stay the same."""

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

#: torch's class -> our class. Our class has the same state. It has additional options, which are off by default.
OURS: dict[type[Module], type[Module]] = {
    torch.nn.Dropout: dropout.Dropout,
    torch.nn.BatchNorm1d: batch_norm.BatchNorm1d,
    torch.nn.BatchNorm2d: batch_norm.BatchNorm2d,
    torch.nn.BatchNorm3d: batch_norm.BatchNorm3d,
}


@dataclass(frozen=True)
class Acceleration:
    """The result of `accelerate`. ``str(result)`` is a report.

    Attributes
    ----------
    layers : tuple of str
        Names of the replaced layers.
    optimizer : str
        The name of the optimizer's class if this class was replaced, else empty.
    seconds : dict of str to (float, float)
        The measured times. The key "layers" is for a forward and backward pass of the model, and the key "optimizer"
        is for a step. Each value has two median times in seconds: first with fusedstep's classes, then with torch's.
    left : dict of str to str
        What was not replaced ("layers" or "optimizer"), and the reason.
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
        return f" (fusedstep: {ours} us, torch: {theirs} us)"


def _microseconds(seconds: float) -> str:
    """Return a time in microseconds as text with at least three significant digits, and without an exponent."""
    return f"{1e6 * seconds:,.0f}" if seconds >= 1e-4 else f"{1e6 * seconds:.3g}"


def accelerate(
    model: Module, optimizer: torch.optim.Optimizer | None = None, loss: Callable[[Any], torch.Tensor] | None = None
) -> Acceleration:
    r"""Replace the classes of a model's dropout and batch norm layers, and of its optimizer, by fusedstep's classes.

    ::

        torch.nn.Dropout, BatchNorm1d, BatchNorm2d, BatchNorm3d  ->  fusedstep.torch.Dropout, BatchNorm1d, ...
        torch.optim.SGD, Adagrad, ...                            ->  fusedstep.torch.SGD, Adagrad, ...

    The layers and the optimizer remain the same objects. Only their classes change, and therefore `forward` and `step`
    change. Names, parameters, buffers, states, hooks and the mode (training or evaluation) are kept. Learning rate
    schedules also continue to work.

    Parameters
    ----------
    model : torch.nn.Module
        Any model, or one layer.
    optimizer : torch.optim.Optimizer, optional
        An optimizer of torch. `accelerate` first compares a step of torch's class with a step of fusedstep's class, on
        copies. The class is replaced if the new class gives the same step in less time.
    loss : function of a model, optional
        Gets a model and returns its loss for a batch, for example ``lambda model: criterion(model(x), y)``. Each call
        must use the same batch. If `loss` is given, `accelerate` first compares torch's layers with fusedstep's layers,
        on copies. The classes are replaced if the new classes give the same gradients in less time. Without `loss`, the
        classes of all supported layers are replaced.

    Returns
    -------
    Acceleration
        The names of the replaced layers and of the replaced optimizer, the measured times, and the reasons why classes
        were not replaced. ``print`` shows a short report.

    Raises
    ------
    TypeError
        If an argument is not as described.

    Notes
    -----
    Except for rounding and dropout masks, the model computes the same as before. With the same seed, the dropout masks
    are not the same as torch's.

    These layers and optimizers keep their classes:

    - Subclasses of torch's classes, because they may compute something else. Examples are ``SyncBatchNorm``, lazy and
      quantized layers, and your own classes.
    - Layers with parameters or buffers that the kernels do not support.
    - Optimizers with parameters or options that the new class does not support.
    - Layers to which code has assigned another `forward`.
    - Optimizers to which code has assigned another `step`. But if a learning rate schedule of torch has assigned the
      `step`, the class of the optimizer can be replaced.

    If `loss` raises an error, `accelerate` raises this error and changes nothing. Call `accelerate` before
    ``torch.compile``. A second call leaves the replaced classes as they are. The comparisons need memory for two more
    copies of the model and of the optimizer.

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
    """Add a trial to the report. Return True if our classes should be used."""
    if trial.theirs:
        report.seconds[what] = trial.ours, trial.theirs
    if trial.reason:
        report.left[what] = trial.reason
    return not trial.reason


def replaceable_layers(model: Module) -> dict[str, Module]:
    """Return a dict from name to layer, with the layers whose class can be replaced by one of ours."""
    return {name: m for name, m in model.named_modules() if type(m) in OURS and is_supported(m)}


def replace_layers(model: Module) -> None:
    """Replace the classes of all replaceable layers."""
    for layer in replaceable_layers(model).values():
        layer.__class__ = OURS[type(layer)]


def is_supported(layer: Module) -> bool:
    """Return True if the kernels support the layer's tensors, and the instance does not have its own `forward`."""
    tensors = (t for t in (*layer.parameters(), *layer.buffers()) if t.is_floating_point())
    return "forward" not in vars(layer) and all(known(t) for t in tensors)


def our_class(optimizer: torch.optim.Optimizer) -> type[FusedOptimizer] | None:
    """Return our class with the same name as the optimizer's class.

    Return None if we have no such class, or if the optimizer's class is not a class of ``torch.optim``.
    """
    name = type(optimizer).__name__
    theirs = getattr(torch.optim, name, None)
    ours: type[FusedOptimizer] | None = vars(optimizers).get(name) if type(optimizer) is theirs else None
    return ours if ours is not None and issubclass(ours, type(optimizer)) else None


def why_left(optimizer: torch.optim.Optimizer) -> str:
    """Return the reason why the class of an optimizer cannot be replaced. If it can, return an empty text."""
    if isinstance(optimizer, FusedOptimizer):
        return "its class is already fusedstep's"
    ours = our_class(optimizer)
    if ours is None:
        return f"fusedstep.torch has no class for {type(optimizer).__module__}.{type(optimizer).__name__}"
    step = vars(optimizer).get("step")
    if step is not None and not hasattr(step, "_wrapped_by_lr_sched"):
        return "other code has replaced its method step"
    try:
        for k in range(len(optimizer.param_groups)):
            ours.check_group(optimizer, k)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


def replace_optimizer(optimizer: Any) -> None:
    """Replace the class of an optimizer by ours."""
    followed = vars(optimizer).pop("step", None) is not None
    optimizer.__class__ = our_class(optimizer)
    optimizer._forget()
    if followed:
        _follow(optimizer)


def _follow(optimizer: Any) -> None:
    """Wrap `step` as learning rate schedules do. The wrapper tells the schedule that a step was taken."""
    step, reference = type(optimizer).step, weakref.ref(optimizer)

    @functools.wraps(step)
    def followed(*args: Any, **options: Any) -> Any:
        alive: Any = reference()
        alive._opt_called = True
        return step(alive, *args, **options)

    followed._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    optimizer.step = followed
