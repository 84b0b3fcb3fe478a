r"""Optimizers for PyTorch parameters in the CPU's memory, with torch's interface and fusedstep's kernels.

This module has a class for each optimizer of `fusedstep.optim`, with the same name. If ``torch.optim`` also has a class
with this name, our class is a subclass of torch's class. The subclass has the arguments, defaults, parameter groups,
state and state_dict of torch's class. So you change only the import::

    from fusedstep.torch import AdamW        # was: from torch.optim import AdamW

All classes accept more options by keyword, such as ``clip_norm``, ``ema_decay`` and ``num_threads``. The docstring of
each class lists these options.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from .. import optim
from ._base import FusedOptimizer
from ._directions import DirectedSteps
from .lookahead import lookahead, own_averages
from .muon import CheckedOptions, OrthogonalSteps
from .rows import RowSteps

_DOC = """{name} for torch parameters in the CPU's memory, with the kernel of `fusedstep.{name}`.

{subclass}

Parameters
----------
{arguments}
    As in `{source}`.
clip_norm : float, optional
    If given, a step multiplies all gradients by min(1, clip_norm / (norm + 1e-6)). Here, norm is the L2 norm of all
    gradients together.
clip_value : float, optional
    If given, a step limits each element of the gradients to [-clip_value, clip_value], after it has applied
    `clip_norm`.
skip_nonfinite : bool
    If True, a step changes nothing if a gradient has an inf or a nan. The optimizer's attribute `skipped` is then True.
decay_scale : float
    Factor for `weight_decay` and `l1`. For example, use B/T if a batch has B of the T samples in the data set.
ema_decay : float, optional
    If given, ``state[p]["ema"]`` is the exponential moving average (Polyak average) of the parameter p. Inside a
    ``with`` block of the method `averaged`, the parameters have the values of these averages.
zero_grads : bool
    If True, a step sets the gradients to zero in the same sweep over memory.
num_threads : int, optional
    The maximum number of threads for this optimizer.
master_weights : bool
    If True, each 16-bit parameter has a float32 master weight. For a bfloat16 parameter, the state ``"low"`` has the 16
    bits of the master weight that the parameter lacks. The state ``"low_sum"`` has checksums, which show whether other
    code has changed the parameter. For a float16 parameter, the state ``"master"`` has the whole master weight.
seed : int
    Seed of stochastic rounding.
process_group : torch.distributed.ProcessGroup, optional
    The processes among which the gradients are sharded. `clip_norm` and `skip_nonfinite` need this group for FSDP1 and
    for tensors that you shard yourself. In all other cases, leave it None. For DTensors and
    ``ZeroRedundancyOptimizer``, the optimizer finds the group itself. With DistributedDataParallel, every process has
    all gradients.
{extras}
    As in `fusedstep.{name}`. {own}A parameter group can have its own values of all these options.

Raises
------
TypeError, ValueError
    If an argument is not as described. The message says which argument is wrong, what it must be and what it was.

Examples
--------
>>> import torch
>>> from fusedstep.torch import {name}
>>> model = torch.nn.Linear(3, 1)
>>> optimizer = {name}([model.weight], lr=0.01)
>>> model(torch.ones(3)).backward()
>>> optimizer.step()
"""


class _NotInTorch(torch.optim.Optimizer):
    """Base of optimizers that torch does not have.

    The constructor has the arguments of the optimizer with the same name in `fusedstep.optim`.
    """

    arguments: inspect.Signature

    def __init__(self, params: Any, *args: Any, **options: Any) -> None:
        given = self.arguments.bind(params, *args, **options)
        given.apply_defaults()
        super().__init__(**{"params": given.arguments.pop("params"), "defaults": given.arguments})


def _arguments(function: Any) -> list[inspect.Parameter]:
    """Return the parameters of a constructor, without `self` and ``**options``."""
    parameters = inspect.signature(function).parameters.values()
    return [p.replace(annotation=p.empty) for p in parameters if p.kind is not p.VAR_KEYWORD]


def _keyword(name: str, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)


def _counts_steps(theirs: type[torch.optim.Optimizer]) -> bool:
    """Return True if torch's optimizer counts the steps of each parameter in its state. SGD, for example, does not."""
    p = torch.zeros(1, 1, requires_grad=True)
    p.grad = torch.zeros(1, 1)
    optimizer = theirs([p])  # type: ignore[call-arg]
    if theirs is torch.optim.SparseAdam:
        p.grad = p.grad.to_sparse()
    optimizer.step()
    return "step" in optimizer.state[p]


#: Base classes of the optimizers that do more in a step than call a kernel.
_BASES: dict[str, tuple[type, ...]] = {
    "Adafactor": (DirectedSteps, torch.optim.Adafactor),
    "Muon": (OrthogonalSteps, CheckedOptions),
    "RowwiseAdagrad": (DirectedSteps, _NotInTorch),
    "SparseAdam": (type("_RowSteps", (RowSteps, FusedOptimizer), {}), torch.optim.SparseAdam),
}


#: Sentences about options that the optimizers for NumPy arrays do not have. They are the field `own` of `_DOC`.
_OWN = {
    "Muon": """Only ``flatten`` and ``ns_dtype`` are not options of `fusedstep.Muon`.
    With ``flatten=True``, a parameter may have more than two axes. A step then treats it as a matrix with one row for
    each index of the first axis. ``ns_dtype`` is the dtype of the matrix products. By default, it is float64 for
    float64 parameters and float32 for all others.
    """
}


def _make(name: str, kernel: type[optim.Optimizer]) -> type[FusedOptimizer]:
    theirs = getattr(torch.optim, name) if kernel.in_torch else None
    arguments = _arguments(theirs or kernel)
    if theirs is None:
        arguments = [p for p in arguments if p.kind is not p.KEYWORD_ONLY] + [_keyword("maximize", False)]
    known = [p.name for p in arguments]
    extras = tuple(n for n, o in kernel.options.items() if o.of_groups and n not in known)
    bases = _BASES.get(name, (FusedOptimizer, theirs or _NotInTorch))
    extras += getattr(bases[0], "own_extras", ())
    ours = {"clip_norm": None, "clip_value": None, "skip_nonfinite": False, "decay_scale": 1.0, "ema_decay": None}
    ours |= {"zero_grads": False, "num_threads": None, "master_weights": False, "seed": 0, "process_group": None}
    ours |= dict.fromkeys(extras)
    members: dict[str, Any] = {
        "__doc__": _DOC.format(
            name=name,
            subclass=f"It is a subclass of ``torch.optim.{name}``, with its arguments, groups, state and state_dict."
            if theirs
            else "torch has no optimizer with this name. The class has the interface of torch's optimizers.",
            arguments=", ".join(known),
            source=f"torch.optim.{name}" if theirs else f"fusedstep.{name}",
            extras=", ".join(extras),
            own=_OWN.get(name, ""),
        ),
        "__module__": __name__,
        "__signature__": inspect.Signature([*arguments, *(_keyword(n, v) for n, v in ours.items())]),
        "kernel": kernel,
        "counts_steps": _counts_steps(theirs) if theirs else True,
        "extras": extras,
        "arguments": inspect.Signature(arguments),
    }
    if hasattr(kernel, "lookahead"):
        members["lookahead"] = lookahead
    if hasattr(kernel, "share_of_average"):
        members["_own_averages"] = own_averages
    return type(name, bases, members)


__all__ = list(optim.registry)
globals().update({name: _make(name, kernel) for name, kernel in optim.registry.items()})
