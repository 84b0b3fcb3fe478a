"""An optimizer on the CPU for a model that is elsewhere."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch

from ._state import Tensor
from ._wrapped import AfterReduction, refuse_wrapped


class OffloadedOptimizer(torch.optim.Optimizer):
    r"""Keep the optimizer in the CPU's memory: master weights and state there, the model on its device.

    During the backward pass each gradient goes to the CPU as soon as it is complete (through pinned memory, on a stream
    of its own, while the pass goes on) and is freed on the device. The step runs on the CPU, and the new parameters
    go back while the device may go on to whatever does not need them.

    Parameters
    ----------
    optimizer_class : type
        What steps the master weights, such as `fusedstep.torch.AdamW`. The result is an instance of it.
    model : torch.nn.Module, or parameters or groups as optimizers take them
        Its parameters may be on any device, also on the CPU, and of any floating dtype.
    *args, **options
        Of `optimizer_class`.
    master_dtype : torch.dtype
        Of the master weights and the state.

    Raises
    ------
    TypeError, ValueError
        As of `optimizer_class`.

    Notes
    -----
    ``param_groups`` hold the master weights. `state_dict` has, besides what that of `optimizer_class` has, the master
    weights of parameters of another dtype (``state[k]["master"]``), which hold bits that the model does not. Gradients
    of several backward passes add up, on the CPU, until a step has used them: the next pass then begins anew, for a
    ``model.zero_grad()``, as loops of other libraries call it, finds nothing on the device. Nothing of this has been
    measured on a GPU.

    In a process of torch.distributed the gradients are fetched at the end of the backward pass, when
    DistributedDataParallel has reduced them; after a pass under its ``no_sync`` they stay on the device and add up
    there. The model is to be wrapped before the first pass. Sharded by ``fully_shard``, master weights and state are
    sharded too. FullyShardedDataParallel (FSDP1) and ZeroRedundancyOptimizer are refused.

    Examples
    --------
    >>> import torch
    >>> from fusedstep.torch import AdamW, OffloadedOptimizer
    >>> model = torch.nn.Linear(3, 1, dtype=torch.bfloat16)
    >>> optimizer = OffloadedOptimizer(AdamW, model, lr=0.01)
    >>> model(torch.ones(3, dtype=torch.bfloat16)).backward()
    >>> optimizer.step()
    >>> optimizer.param_groups[0]["params"][0].dtype
    torch.float32
    """

    def __new__(cls, optimizer_class: Any = None, *args: Any, **options: Any) -> OffloadedOptimizer:
        """Make an instance of `optimizer_class` and of this class."""
        if not (isinstance(optimizer_class, type) and issubclass(optimizer_class, torch.optim.Optimizer)):
            raise TypeError(f"{cls.__name__}: optimizer_class must be a class of optimizers; got {optimizer_class!r}")
        if hasattr(optimizer_class, "consolidate_state_dict"):
            raise TypeError(
                f"{cls.__name__}: optimizer_class must keep all states in this process; got {optimizer_class.__name__}"
            )
        return object.__new__(type(f"Offloaded{optimizer_class.__name__}", (cls, optimizer_class), {}))

    def __init__(
        self, optimizer_class: Any, model: Any, *args: Any, master_dtype: torch.dtype = torch.float32, **options: Any
    ) -> None:
        self._master_dtype = master_dtype
        self._models: dict[Tensor, Tensor] = {}  # master -> the model's parameter
        self._arriving: dict[Tensor, Tensor] = {}  # master -> its gradient, on its way to the CPU
        self._copies: torch.cuda.Stream | None = None
        self._used = False  # whether a step has taken the gradients that are here
        self._after = AfterReduction(type(self).__name__)
        super().__init__(model.parameters() if isinstance(model, torch.nn.Module) else model, *args, **options)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of the model's parameters."""
        given = param_group["params"]
        members = [given] if isinstance(given, Tensor) else list(given)
        masters = [(m[0], self._master(m[1])) if isinstance(m, tuple) else self._master(m) for m in members]
        super().add_param_group({**param_group, "params": masters})

    def _master(self, p: Tensor) -> Tensor:
        for master, known in self._models.items():
            if known is p:
                return master  # for torch's own check of duplicates
        refuse_wrapped(type(self).__name__, [p])
        if p.is_cuda and self._copies is None:
            self._copies = torch.cuda.Stream(p.device)
        master = torch.nn.Parameter(self._on_cpu(p).copy_(p.detach()), requires_grad=p.requires_grad)
        self._models[master] = p
        if p.requires_grad:
            reference = weakref.ref(self)  # a model outlives its optimizers

            def fetch(_: Tensor) -> None:
                if (alive := reference()) is not None:
                    alive._after.add(p, lambda: alive._fetch(master))

            p.register_post_accumulate_grad_hook(fetch)
        return master

    def _on_cpu(self, p: Tensor) -> Tensor:
        return torch.empty_like(p, dtype=self._master_dtype, device="cpu", pin_memory=p.is_cuda, requires_grad=False)

    def _fetch(self, master: Tensor) -> None:
        """Send a gradient on its way to the CPU, and free it."""
        if self._used:
            self._forget_gradients()
        p = self._models[master]
        grad, p.grad = p.grad, None
        assert grad is not None  # its hook has just run
        if master in self._arriving:  # of an earlier backward pass
            self._wait()
            assert master.grad is not None
            master.grad += grad.detach().to(master.grad)
            return
        if self._copies is not None:
            self._copies.wait_stream(torch.cuda.current_stream(p.device))
            grad.record_stream(self._copies)
        with torch.cuda.stream(self._copies), torch.no_grad():
            self._arriving[master] = self._on_cpu(p).copy_(grad, non_blocking=True)

    def _wait(self) -> None:
        if self._copies is not None:
            self._copies.synchronize()
        for master, grad in self._arriving.items():
            master.grad = grad

    @torch.no_grad()
    def _send_back(self) -> None:
        with torch.cuda.stream(self._copies):
            for master in self._arriving:
                self._models[master].copy_(master, non_blocking=True)
        if self._copies is not None:
            torch.cuda.current_stream(self._copies.device).wait_stream(self._copies)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the master weights with the gradients that have come, and the model with them."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        refuse_wrapped(f"{type(self).__name__}.step", self._models.values())  # it may have been wrapped since
        self._wait()
        super().step()
        self._send_back()
        self._used = True
        return loss

    step.hooked = True  # type: ignore[attr-defined]  # the step inside runs the hooks

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, on the CPU and on the device."""
        self._forget_gradients()
        for p in self._models.values():
            p.grad = None

    def _forget_gradients(self) -> None:
        self._wait()
        self._arriving.clear()
        self._used = False
        for master in self._models:
            master.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return what `optimizer_class` does, and the master weights that hold more bits than the model."""
        saved = super().state_dict()
        masters = [p for group in self.param_groups for p in group["params"]]
        for k, master in enumerate(masters):
            if master.dtype != self._models[master].dtype:
                saved["state"][k] = {**saved["state"].get(k, {}), "master": master.detach().clone()}
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` or `optimizer_class` has saved; master weights that are not in it are the model's.

        Raises
        ------
        ValueError
            If a master weight has not the shape of its parameter, and as `optimizer_class`; nothing is changed then.
        """
        saved = [k for group in state_dict["param_groups"] for k in group["params"]]
        entries = {k: dict(entry) for k, entry in state_dict["state"].items()}
        kept = {k: entry.pop("master") for k, entry in entries.items() if "master" in entry}
        masters = [p for group in self.param_groups for p in group["params"]]
        for k, master in zip(saved, masters, strict=False):  # other lengths are refused below
            if k in kept and kept[k].shape != master.shape:
                need, got = tuple(master.shape), tuple(kept[k].shape)
                raise ValueError(f"{type(self).__name__}.load_state_dict: master of {k} must be {need}; got {got}")
        super().load_state_dict({**state_dict, "state": {k: entry for k, entry in entries.items() if entry}})
        with torch.no_grad():
            for k, master in zip(saved, masters, strict=True):
                master.copy_(kept.get(k, self._models[master]))

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse: a copy would not be the optimizer of the model."""
        raise TypeError("OffloadedOptimizer: cannot be copied or pickled without its model; use state_dict")
