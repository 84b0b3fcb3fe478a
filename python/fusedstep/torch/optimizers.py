r"""Optimizers for PyTorch parameters in the CPU's memory: torch's constructors and state, fusedstep's kernels.

Each optimizer of `fusedstep.optim` has a class with the same name here. If ``torch.optim`` has that name too, the class
is a subclass of torch's, with the same arguments, defaults, groups, state and state_dict. So only an import changes::

    from fusedstep.torch import AdamW        # was: from torch.optim import AdamW

All classes accept more options by keyword: ``clip_norm``, ``clip_value``, ``skip_nonfinite``, ``decay_scale``,
``ema_decay``, ``zero_grads``, ``num_threads``, ``process_group``, and as options of a group ``l1`` and ``decay``.
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

_DOC = """{name} on parameters in the CPU's memory, with the kernel of `fusedstep.{name}`.

{subclass}

Parameters
----------
{arguments}
    As in `{source}`.
clip_norm : float, optional
    Scales all gradients by min(1, clip_norm / (norm + 1e-6)). The norm is that over all gradients.
clip_value : float, optional
    Bounds every element's absolute value, after `clip_norm`.
skip_nonfinite : bool
    If any gradient has an inf or a nan, a step changes nothing; see `skipped`.
decay_scale : float
    Multiplies `weight_decay` and `l1`: B/T for batches of B out of T examples.
ema_decay : float, optional
    If given, ``state[p]["ema"]`` follows the parameters as their exponential (Polyak) average; see `averaged`.
zero_grads : bool
    Sets the gradients to zero in the same sweep.
num_threads : int, optional
    At most this many threads for this optimizer.
master_weights : bool
    True keeps in a state (``"low"`` and ``"low_sum"``, or ``"master"``) the part of float32 that 16-bit parameters
    cannot hold.
seed : int
    Seed of stochastic rounding.
process_group : torch.distributed.ProcessGroup, optional
    The processes that each have a part of the gradients, for `clip_norm` and `skip_nonfinite`. Give the group for FSDP1
    and for tensors that you divide yourself. For DTensors and ``ZeroRedundancyOptimizer`` it is found automatically.
    Under DDP leave it None, because every process has all gradients.
{extras}
    As in `fusedstep.{name}`; options of a group.

Raises
------
TypeError, ValueError
    If an argument is not as described. The message names the argument, what it must be and what it was.

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
    """A base that replaces torch's class. It accepts the arguments of an optimizer of `fusedstep`."""

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
    """Return True if torch keeps a counter for each parameter; SGD has none."""
    p = torch.zeros(1, 1, requires_grad=True)
    p.grad = torch.zeros(1, 1)
    optimizer = theirs([p])  # type: ignore[call-arg]
    if theirs is torch.optim.SparseAdam:
        p.grad = p.grad.to_sparse()
    optimizer.step()
    return "step" in optimizer.state[p]


#: Base classes of the optimizers that need more than a kernel.
_BASES: dict[str, tuple[type, ...]] = {
    "Adafactor": (DirectedSteps, torch.optim.Adafactor),
    "Muon": (OrthogonalSteps, CheckedOptions),
    "RowwiseAdagrad": (DirectedSteps, _NotInTorch),
    "SparseAdam": (type("_RowSteps", (RowSteps, FusedOptimizer), {}), torch.optim.SparseAdam),
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
            subclass="A subclass of torch's class, with the same arguments, groups, state and state_dict."
            if theirs
            else "torch has no optimizer of this name. This one behaves like torch's optimizers.",
            arguments=", ".join(known),
            source=f"torch.optim.{name}" if theirs else f"fusedstep.{name}",
            extras=", ".join(extras),
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
