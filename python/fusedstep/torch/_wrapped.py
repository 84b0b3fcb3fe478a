"""Models that are wrapped for several processes: the time at which a gradient is complete on all ranks."""

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
    """Raise if FullyShardedDataParallel (FSDP1) has wrapped a parameter.

    FSDP1 reduces gradients after their hooks have run, or never runs the hooks.

    Raises
    ------
    ValueError
        The message names the wrapper.
    """
    if any(is_of_fsdp1(p) for p in params):
        raise ValueError(
            f"{label}: the model must not be wrapped by FullyShardedDataParallel (FSDP1), because the hooks "
            "of its parameters run before the gradients are reduced; use torch.distributed.fsdp.fully_shard (FSDP2), "
            "or step after the backward pass"
        )


class AfterReduction:
    """Runs an action for each parameter whose gradient is complete on all ranks.

    DistributedDataParallel reduces gradients after the hooks of the parameters have run. So in a process of
    torch.distributed all actions run at the end of the backward pass, after the work of DistributedDataParallel. In a
    pass under its `no_sync` no action runs, and the gradients continue to add up. The gradients of DTensors are already
    reduced when their hooks run.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._waiting: list[tuple[Tensor, Callable[[], None]]] = []
        self._pass = -1  # torch's number of the current backward pass
        self._wrappers: list[weakref.ref[Any]] | None = None

    def add(self, p: Tensor, action: Callable[[], None]) -> None:
        """Run the action now or later in this pass. A parameter's hook calls this."""
        refuse_wrapped(self._label, [p])
        if is_shard(p) or not (dist.is_available() and dist.is_initialized()):
            return action()
        this = torch._C._current_graph_task_id()
        if this != self._pass:  # waiting actions belong to an earlier pass, which was interrupted
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
    """Run an action at the end of the current backward pass, after all callbacks that are already queued."""
    torch.autograd.Variable._execution_engine.queue_callback(action)


def _wrappers_of(params: Iterable[Tensor]) -> list[weakref.ref[Any]]:
    """Return the DistributedDataParallel models of parameters. All objects are searched: parameters have no link."""
    kind, wanted = torch.nn.parallel.DistributedDataParallel, set(params)
    found = [o for o in gc.get_objects() if issubclass(type(o), kind)]
    return [weakref.ref(o) for o in found if not wanted.isdisjoint(o._module_parameters)]
