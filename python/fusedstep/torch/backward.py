"""Steps during the backward pass: no gradient outlives its parameter's step."""

from __future__ import annotations

from ._base import FusedOptimizer
from ._state import Tensor, sharing
from ._wrapped import AfterReduction, refuse_wrapped


class BackwardSteps:
    """What `step_in_backward` has set up; `remove` ends it."""

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
        """Leave the gradients to `optimizer.step` again."""
        for handle in self._handles:
            handle.remove()


def step_in_backward(optimizer: FusedOptimizer) -> BackwardSteps:
    """Update each parameter in the backward pass as soon as its gradient is complete, and free the gradient.

    The memory's peak falls by almost the size of all gradients. ``optimizer.step()`` may still be called, as learning
    rate schedulers expect: it updates parameters that still have a gradient, usually none.

    Parameters
    ----------
    optimizer : FusedOptimizer
        An optimizer of this package, without `clip_norm`: the norm of all gradients is known too late for it.

    Returns
    -------
    BackwardSteps
        With a method ``remove``.

    Raises
    ------
    TypeError, ValueError
        For another optimizer, or one with `clip_norm`. For parameters of FullyShardedDataParallel (FSDP1), the local
        optimizer of a ZeroRedundancyOptimizer, and `skip_nonfinite` where ranks have parts of the gradients.

    Notes
    -----
    Every backward pass is a step: gradients cannot be accumulated over several, nor unscaled by a ``GradScaler`` (whose
    ``step`` then finds no gradient and says so). Hooks of the optimizer's `step` do not run.

    In a process of torch.distributed the steps wait for the end of the backward pass, when
    DistributedDataParallel has reduced the gradients; a pass under its ``no_sync`` takes no step, and its gradients add
    up. The model is to be wrapped before the first pass. Sharded parameters (``fully_shard``) step as soon as their
    gradients are reduced.

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
            f"step_in_backward: optimizer must be one of fusedstep.torch; got {type(optimizer).__module__}."
            f"{type(optimizer).__name__}"
        )
    if optimizer.clip_norm is not None:
        raise ValueError(f"step_in_backward: optimizer must have no clip_norm; got {optimizer.clip_norm}")
    _refuse_shared(optimizer)
    return BackwardSteps(optimizer)


def _refuse_shared(optimizer: FusedOptimizer) -> None:
    """Raise where single steps would part the ranks, or leave gradients behind."""
    if optimizer._zero is not None:
        raise ValueError(
            "step_in_backward: optimizer must not be the local one of a ZeroRedundancyOptimizer: this rank would keep "
            "the gradients that others step, and have none of their steps"
        )
    refuse_wrapped("step_in_backward", (p for group in optimizer.param_groups for p in group["params"]))
    if optimizer.skip_nonfinite and sharing(optimizer) is not None:
        raise ValueError(
            "step_in_backward: skip_nonfinite must be False where ranks have parts of the gradients: each would decide "
            "for itself; got True"
        )
