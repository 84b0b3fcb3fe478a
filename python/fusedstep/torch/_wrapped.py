"""Actions that wait until DistributedDataParallel has reduced the gradients (averaged them over all processes)."""

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
    """Raise an error if FullyShardedDataParallel (FSDP1) has wrapped a parameter.

    Under FSDP1, no hook of a parameter runs after the gradients have been averaged over all processes.

    Raises
    ------
    ValueError
        If FSDP1 has wrapped one of `params`.
    """
    if any(is_of_fsdp1(p) for p in params):
        raise ValueError(
            f"{label}: the model must not be wrapped by FullyShardedDataParallel (FSDP1), because the hooks "
            "of the parameters run before FSDP1 reduces the gradients; use torch.distributed.fsdp.fully_shard (FSDP2), "
            "or step after the backward pass"
        )


class AfterReduction:
    """Runs an action for each parameter when its gradient is complete on all ranks.

    The hooks of the parameters call `add` with the actions. DistributedDataParallel reduces gradients (averages them
    over all processes) after these hooks have run. So in a process of torch.distributed, the actions run at the end of
    the backward pass, after DistributedDataParallel has reduced the gradients. In a pass under the `no_sync` of a
    DistributedDataParallel model, no action runs for the parameters of this model, and the gradients of the next pass
    are added to the gradients of this pass.

    Actions for DTensors run immediately, because the gradients of DTensors are reduced before the hooks run. Without
    torch.distributed, all actions run immediately.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._waiting: list[tuple[Tensor, Callable[[], None]]] = []
        self._pass = -1  # torch's number of the backward pass to which the waiting actions belong
        self._wrappers: list[weakref.ref[Any]] | None = None

    def add(self, p: Tensor, action: Callable[[], None]) -> None:
        """Run the action now or at the end of this backward pass. The hooks of parameters call this method."""
        refuse_wrapped(self._label, [p])
        if is_shard(p) or not (dist.is_available() and dist.is_initialized()):
            return action()
        this = torch._C._current_graph_task_id()
        if this != self._pass:  # actions that still wait belong to an earlier pass, which was interrupted
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
    """Run an action at the end of the present backward pass, after all callbacks that autograd has queued until now."""
    torch.autograd.Variable._execution_engine.queue_callback(action)


def _wrappers_of(params: Iterable[Tensor]) -> list[weakref.ref[Any]]:
    """Return the DistributedDataParallel models that contain any of the parameters.

    A parameter has no reference to its model, so all Python objects are searched.
    """
    kind, wanted = torch.nn.parallel.DistributedDataParallel, set(params)
    found = [o for o in gc.get_objects() if issubclass(type(o), kind)]
    return [weakref.ref(o) for o in found if not wanted.isdisjoint(o._module_parameters)]
