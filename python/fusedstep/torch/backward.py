"""Steps during the backward pass. Each parameter's step frees the gradient of the parameter."""

from __future__ import annotations

from ._base import FusedOptimizer
from ._state import Tensor, sharing
from ._wrapped import AfterReduction, refuse_wrapped


class BackwardSteps:
    """The hooks that `step_in_backward` has added to the parameters. `remove` removes the hooks."""

    def __init__(self, optimizer: FusedOptimizer) -> None:
        after = AfterReduction("step_in_backward")
        params = dict.fromkeys(p for group in optimizer.param_groups for p in group["params"] if p.requires_grad)
        stepped = {optimizer._of_model(p): p for p in params}

        def step(p: Tensor) -> None:
            optimizer.step_one(p)
            optimizer._drop_gradient(p)

        def completed(of_model: Tensor) -> None:
            after.add(of_model, lambda: step(stepped[of_model]))

        self._handles = [p.register_post_accumulate_grad_hook(completed) for p in stepped]

    def remove(self) -> None:
        """Remove the hooks. After that, only `optimizer.step` updates parameters."""
        for handle in self._handles:
            handle.remove()


def step_in_backward(optimizer: FusedOptimizer) -> BackwardSteps:
    """Update each parameter in the backward pass as soon as its gradient is complete, and free the gradient.

    Without torch.distributed, the peak memory falls by almost the size of all gradients. A program can still call
    ``optimizer.step()``, which learning rate schedulers expect. This call updates only parameters that still have a
    gradient. Usually no parameter has one.

    Parameters
    ----------
    optimizer : FusedOptimizer
        An optimizer of this package. Its `clip_norm` must be None, because the norm of all gradients is known only at
        the end of the backward pass.

    Returns
    -------
    BackwardSteps
        An object with a method ``remove``. The method removes the hooks that take the steps.

    Raises
    ------
    TypeError
        If the optimizer is not of this package.
    ValueError
        If one of these conditions is true:

        - `clip_norm` is not None.
        - FullyShardedDataParallel (FSDP1) has wrapped the model.
        - The optimizer is the local optimizer of a ZeroRedundancyOptimizer.
        - `skip_nonfinite` is True, and each process has only a part of the gradients.

    Notes
    -----
    Every backward pass includes a step. So gradients cannot be accumulated over several passes, except under
    DistributedDataParallel's ``no_sync`` (see below). A ``GradScaler`` cannot be used, because its ``step`` finds no
    gradient and raises an error. Hooks of the optimizer's `step` do not run.

    If torch.distributed is initialized, ordinary parameters are updated at the end of the backward pass, after
    DistributedDataParallel has reduced the gradients (averaged them over all processes). Parameters that
    ``fully_shard`` has divided among the processes are updated earlier, as soon as their gradients are reduced.

    Wrap the model in DistributedDataParallel before the first pass. In a pass under its ``no_sync``, no parameter is
    updated, and the gradients of the next pass are added to the gradients of this pass.

    Examples
    --------
    >>> import torch
    >>> from fusedstep.torch import SGD, step_in_backward
    >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
    >>> _ = step_in_backward(SGD([w], lr=0.5))
    >>> (w**2).sum().backward()
    >>> w.tolist(), w.grad
    ([0.0, 0.0], None)
    """
    if not isinstance(optimizer, FusedOptimizer):
        raise TypeError(
            f"step_in_backward: optimizer must be an optimizer of fusedstep.torch; got {type(optimizer).__module__}."
            f"{type(optimizer).__name__}"
        )
    if optimizer.clip_norm is not None:
        raise ValueError(f"step_in_backward: clip_norm of optimizer must be None; got {optimizer.clip_norm}")
    _refuse_shared(optimizer)
    return BackwardSteps(optimizer)


def _refuse_shared(optimizer: FusedOptimizer) -> None:
    """Raise an error if the gradients or the parameters are divided among processes in an unsupported way."""
    if optimizer._zero is not None:
        raise ValueError(
            "step_in_backward: optimizer must not be the local optimizer of a ZeroRedundancyOptimizer, because a local "
            "optimizer steps only some of the parameters"
        )
    refuse_wrapped("step_in_backward", (p for group in optimizer.param_groups for p in group["params"]))
    if optimizer.skip_nonfinite and sharing(optimizer) is not None:
        raise ValueError(
            "step_in_backward: skip_nonfinite must be False if each rank has a part of the gradients, because some "
            "ranks would skip a step that other ranks take; got True"
        )
