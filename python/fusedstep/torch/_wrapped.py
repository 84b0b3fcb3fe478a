"""Models that are wrapped for several processes: what the hook of a gradient may rely on there."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist

from ._ranks import is_of_fsdp1, is_shard

Tensor = torch.Tensor


def refuse_wrapped(label: str, params: Iterable[Tensor]) -> None:
    """Raise if FullyShardedDataParallel, the first of torch's, has wrapped a parameter.

    It reduces gradients after their hooks have run, or never runs them.

    Raises
    ------
    ValueError
        With the wrapper's name.
    """
    if any(is_of_fsdp1(p) for p in params):
        raise ValueError(
            f"{label}: the model must not be wrapped by FullyShardedDataParallel (FSDP1), which leaves the hooks of "
            "parameters no reduced gradients; wrap it by torch.distributed.fsdp.fully_shard (FSDP2), or step after the "
            "backward pass"
        )


class AfterReduction:
    """Does something for each parameter whose gradient a backward pass completes: when it is complete on all ranks.

    DistributedDataParallel reduces gradients after the hooks of the parameters have run. In a process of
    torch.distributed all is done at the end of the pass therefore, behind what DistributedDataParallel does there; in a
    pass under its `no_sync` nothing is done, and the gradients go on adding up where they are. DTensors have reduced
    gradients when their hooks run.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._waiting: list[tuple[Tensor, Callable[[], None]]] = []
        self._pass = -1  # torch's number of the one at hand
        self._wrappers: list[weakref.ref[Any]] | None = None

    def add(self, p: Tensor, action: Callable[[], None]) -> None:
        """Do it now or later in this pass. To be called by the hook of a parameter."""
        refuse_wrapped(self._label, [p])
        if is_shard(p) or not (dist.is_available() and dist.is_initialized()):
            return action()
        this = torch._C._current_graph_task_id()
        if this != self._pass:  # what waits is of a pass that was broken off
            self._pass, self._waiting = this, []
            _at_the_end(lambda: _at_the_end(self._finish))
        self._waiting.append((p, action))
        return None

    def _finish(self) -> None:
        self._pass, waiting, self._waiting = -1, self._waiting, []
        if self._wrappers is None:
            self._wrappers = _wrappers_of(p for p, _ in waiting)
        alive = [wrapper for reference in self._wrappers if (wrapper := reference()) is not None]
        local = {p for ddp in alive if not ddp.require_forward_param_sync for p in ddp._module_parameters}
        for p, action in waiting:
            if p not in local:
                action()


def _at_the_end(action: Callable[[], None]) -> None:
    """Run something at the end of the backward pass at hand, after all that was asked for before."""
    torch.autograd.Variable._execution_engine.queue_callback(action)


def _wrappers_of(params: Iterable[Tensor]) -> list[weakref.ref[Any]]:
    """Return the models that wrap parameters by DistributedDataParallel. Nothing leads from a parameter to them."""
    kind, wanted = torch.nn.parallel.DistributedDataParallel, set(params)
    found = [o for o in gc.get_objects() if issubclass(type(o), kind)]
    return [weakref.ref(o) for o in found if not wanted.isdisjoint(o._module_parameters)]
