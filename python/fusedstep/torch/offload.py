"""An optimizer on the CPU for a model that may be elsewhere."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from .._base import formats
from . import _widths
from ._base import FusedOptimizer
from ._ranks import is_shard
from ._state import Tensor
from ._wrapped import AfterReduction, refuse_wrapped


class OffloadedOptimizer(torch.optim.Optimizer):
    r"""Keep master weights and state in the CPU's memory, and the model on its device.

    The optimizer steps the *host* of each parameter. A parameter in the CPU's memory is its own host: it is stepped in
    place, in one sweep. The host of any other parameter is a copy in pinned memory. When the backward pass has
    completed a gradient, the gradient is copied to the CPU, on a separate stream while the pass continues, and freed on
    the device. After the step the new parameters are copied back, while the device may do work that does not need them.

    With an optimizer of this package, 16-bit hosts keep their dtype and have the missing bits of float32 as a state
    (``master_weights=True``), so that steps are those of float32. With an optimizer of torch, the hosts are copies in
    `master_dtype`. Only the first step allocates memory.

    Parameters
    ----------
    optimizer_class : type
        Class of the optimizer, such as `fusedstep.torch.AdamW`. The result is an instance of it.
    model : torch.nn.Module, or parameters or groups as for an optimizer
        Its parameters may be on any device, also on the CPU, and of any floating dtype.
    *args, **options
        Arguments of `optimizer_class`.
    master_dtype : torch.dtype
        The dtype of the hosts, unless 16-bit hosts keep the missing bits of float32 as a state.

    Raises
    ------
    TypeError, ValueError
        As for `optimizer_class`.

    Notes
    -----
    ``param_groups`` have the hosts. The gradients of one backward pass are used in their own dtype; if there are more
    passes before a step, the gradients of 16-bit parameters are added in float32. A step drops the gradients after it
    has used them, so that the next pass starts from zero, also in loops of other libraries that only call
    ``model.zero_grad()``. In the CPU's memory a gradient stays in ``p.grad`` until the step, so that
    ``torch.nn.utils.clip_grad_norm_(model.parameters(), ...)`` clips it. On a device it does not stay there, and that
    function would clip nothing: use ``clip_norm=``. The speed on a GPU has not been measured.

    In a process of torch.distributed the gradients are fetched at the end of the backward pass, when
    DistributedDataParallel has reduced them; after a pass under its ``no_sync`` they stay on the device and add up
    there, in their own dtype. Wrap the model before the first pass. With ``fully_shard``, master weights and state are
    sharded too. FullyShardedDataParallel (FSDP1) and ZeroRedundancyOptimizer are refused.

    Examples
    --------
    >>> import torch
    >>> from fusedstep.torch import AdamW, OffloadedOptimizer
    >>> model = torch.nn.Linear(3, 1, dtype=torch.bfloat16)
    >>> optimizer = OffloadedOptimizer(AdamW, model, lr=0.01)
    >>> model(torch.ones(3, dtype=torch.bfloat16)).backward()
    >>> optimizer.step()
    >>> sorted(optimizer.state[model.weight])
    ['exp_avg', 'exp_avg_sq', 'low', 'low_sum', 'step']
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
        self._is_ours = issubclass(optimizer_class, FusedOptimizer)
        self._models: dict[Tensor, Tensor] = {}  # host -> the model's parameter
        self._buffers: dict[tuple[Tensor, torch.dtype], Tensor] = {}  # of a host's gradients, made when first needed
        self._arriving: dict[Tensor, Tensor] = {}  # host -> its gradient, on its way from the device
        self._copies: torch.cuda.Stream | None = None
        self._after = AfterReduction(type(self).__name__)
        if self._is_ours and master_dtype == torch.float32:
            options.setdefault("master_weights", True)
        super().__init__(model.parameters() if isinstance(model, torch.nn.Module) else model, *args, **options)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of the model's parameters."""
        given = param_group["params"]
        members = [given] if isinstance(given, Tensor) else list(given)
        hosts = [(m[0], self._host(m[1])) if isinstance(m, tuple) else self._host(m) for m in members]
        super().add_param_group({**param_group, "params": hosts})

    def _host(self, p: Tensor) -> Tensor:
        for host, known in self._models.items():
            if known is p:
                return host  # for torch's own check of duplicates
        refuse_wrapped(type(self).__name__, [p])
        keeps_bits = self._is_ours and p.dtype in _widths.HALVES and self._master_dtype == torch.float32
        dtype = p.dtype if keeps_bits else self._master_dtype
        if p.device.type == "cpu" and p.dtype == dtype:
            host = p
        else:
            host = torch.nn.Parameter(_on_cpu(p, dtype).copy_(p.detach()), requires_grad=p.requires_grad)
        self._models[host] = p
        if p.requires_grad:
            self._watch(host, p)
        return host

    def _watch(self, host: Tensor, p: Tensor) -> None:
        reference = weakref.ref(self)  # a model outlives its optimizers

        def widen(_: Tensor) -> None:
            if (alive := reference()) is not None:
                alive._widen(p)

        def fetch(_: Tensor) -> None:
            if (alive := reference()) is not None:
                alive._after.add(p, lambda: alive._fetch(host))

        if p.device.type != "cpu":
            self._copies = self._copies or (torch.cuda.Stream(p.device) if p.is_cuda else None)
            p.register_post_accumulate_grad_hook(fetch)
        elif p.dtype in _widths.HALVES and not is_shard(p):
            p.register_hook(widen)

    def _buffer(self, host: Tensor, dtype: torch.dtype) -> Tensor:
        key = (host, dtype)
        if key not in self._buffers:
            self._buffers[key] = _on_cpu(self._models.get(host, host), dtype)
        return self._buffers[key]

    @torch.no_grad()
    def _widen(self, p: Tensor) -> None:
        """Before a second gradient is added to one of 16 bits in the CPU's memory: let the sum be float32."""
        if p.grad is None or p.grad.dtype == torch.float32:
            return
        if not (dist.is_available() and dist.is_initialized()):
            wide = self._buffer(p, torch.float32).copy_(p.grad)
            p.grad = None
            p.grad_dtype = torch.float32
            p.grad = wide

    @torch.no_grad()
    def _fetch(self, host: Tensor) -> None:
        """Send a gradient on its way to the CPU, and free it on the device."""
        p = self._models[host]
        grad, p.grad = p.grad, None
        assert grad is not None  # its hook has just run
        if host in self._arriving:  # of an earlier backward pass
            self._wait()
            first, wide = self._arriving[host], torch.promote_types(grad.dtype, torch.float32)
            total = first if first.dtype == wide else self._buffer(host, wide).copy_(first)
            self._arriving[host] = total.add_(grad.detach().to(total))
            return
        if self._copies is not None:
            self._copies.wait_stream(torch.cuda.current_stream(p.device))
            grad.record_stream(self._copies)
        with torch.cuda.stream(self._copies):
            self._arriving[host] = self._buffer(host, grad.dtype).copy_(grad, non_blocking=True)

    def _wait(self) -> None:
        if self._copies is not None:
            self._copies.synchronize()

    @torch.no_grad()
    def _give_gradients(self) -> None:
        """Let every host have its gradient, in a dtype that its optimizer reads."""
        self._wait()
        for host, p in self._models.items():
            grad = p.grad if p.device.type == "cpu" else self._arriving.get(host)
            if host is p or grad is None:
                continue
            mixed = self._is_ours and torch.float64 not in (grad.dtype, host.dtype)
            dtype = grad.dtype if mixed else host.dtype
            if grad.dtype != dtype:
                grad = self._buffer(host, dtype).copy_(grad)
            host.grad_dtype = dtype
            host.grad = grad.detach()

    @torch.no_grad()
    def _send_back(self) -> None:
        with torch.cuda.stream(self._copies):
            for host, p in self._models.items():
                if host is not p and host.grad is not None:
                    p.copy_(host, non_blocking=True)
        if self._copies is not None:
            torch.cuda.current_stream(self._copies.device).wait_stream(self._copies)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the hosts with the gradients that have come, and the model with them."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        refuse_wrapped(f"{type(self).__name__}.step", self._models.values())  # it may have been wrapped since
        self._give_gradients()
        super().step()
        self._send_back()
        self._forget_gradients()
        return loss

    step.hooked = True  # type: ignore[attr-defined]  # the step inside runs the hooks

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, on the CPU and on the device."""
        self._forget_gradients()

    def _forget_gradients(self) -> None:
        self._wait()
        self._arriving.clear()
        for host, p in self._models.items():
            host.grad = p.grad = None
            if (p, torch.float32) in self._buffers:  # the next pass is read as it comes
                p.grad_dtype = p.dtype

    def state_dict(self) -> dict[str, Any]:
        """Return what `optimizer_class` does, and the hosts that hold more bits than the model."""
        saved = super().state_dict()
        hosts = [p for group in self.param_groups for p in group["params"]]
        for k, host in enumerate(hosts):
            if host.dtype != self._models[host].dtype:
                saved["state"][k] = {**saved["state"].get(k, {}), "master": host.detach().clone()}
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` or `optimizer_class` has saved; hosts that are not in it have the model's values.

        Raises
        ------
        ValueError
            If a master weight has not the shape of its parameter, and as `optimizer_class`; nothing is changed then.
        """
        saved = [k for group in state_dict["param_groups"] for k in group["params"]]
        hosts = [p for group in self.param_groups for p in group["params"]]
        entries = {k: dict(entry) for k, entry in state_dict["state"].items()}
        masters: dict[Tensor, Tensor] = {}
        for k, host in zip(saved, hosts, strict=False):  # other lengths are refused below
            master = entries.get(k, {}).get("master")
            if master is not None and master.shape != host.shape:
                need, got = tuple(host.shape), tuple(master.shape)
                raise ValueError(f"{type(self).__name__}.load_state_dict: master of {k} must be {need}; got {got}")
            if master is not None and not (self._is_ours and host.dtype == torch.float16):
                masters[host] = entries[k].pop("master")
        for k, host in zip(saved, hosts, strict=False):
            if host in masters and host.dtype == torch.bfloat16:  # saved before low bits were
                entries[k] |= _low_bits(masters[host])
        super().load_state_dict({**state_dict, "state": {k: entry for k, entry in entries.items() if entry}})
        self._take_masters(masters)

    @torch.no_grad()
    def _take_masters(self, masters: dict[Tensor, Tensor]) -> None:
        for host, p in self._models.items():
            master = masters.get(host)
            if host.dtype == torch.bfloat16 and master is not None:
                host.copy_(_rounded(master))
            elif host is not p or master is not None:
                host.copy_(p if master is None else master)
            if host is not p and host.dtype == p.dtype:
                p.copy_(host)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse: a copy would not be the optimizer of the model."""
        raise TypeError("OffloadedOptimizer: cannot be copied or pickled without its model; use state_dict")


def _on_cpu(p: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.empty_like(p, dtype=dtype, device="cpu", pin_memory=p.is_cuda, requires_grad=False)


def _rounded(master: Tensor) -> Tensor:
    """Return float32 numbers as bfloat16, rounded as parameters that keep low bits are: ties away from zero."""
    bits = master.detach().to("cpu", torch.float32).contiguous().view(torch.int32)
    return ((bits + 0x8000) >> 16).to(torch.int16).view(torch.bfloat16)


def _low_bits(master: Tensor) -> dict[str, Tensor]:
    """Return what beside `_rounded` makes up float32 numbers."""
    wide = master.detach().to("cpu", torch.float32).contiguous()
    low = wide.view(torch.int32).to(torch.int16)
    flat = _rounded(wide).reshape(-1).view(torch.int16).numpy()
    return {"low": low, "low_sum": torch.from_numpy(formats.low_sums(flat))}
