"""Hosts: tensors in the CPU's memory that an `OffloadedOptimizer` steps instead of the model's parameters."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from ._ranks import is_shard, local_of
from ._widths import HALVES
from ._wrapped import AfterReduction, refuse_wrapped

Tensor = torch.Tensor


class Hosts:
    """The tensors in the CPU's memory that an optimizer updates for the parameters of a model.

    Each of these tensors is called the host of its parameter. It is a copy of the parameter, or the parameter itself;
    see `OffloadedOptimizer`. This class copies gradients from parameters to hosts, and new values from hosts to
    parameters.

    Parameters
    ----------
    label : str
        The optimizer's name, for error messages.
    dtype : torch.dtype
        The dtype of the hosts, unless `keeps_bits` is True and the parameter has 16 bits.
    keeps_bits : bool
        True if the host of a 16-bit parameter has the dtype of the parameter, not `dtype`. With
        ``master_weights=True``, the optimizer's states then contain the other 16 bits of each float32 weight (if the
        host is bfloat16) or the whole float32 weight (if the host is float16).
    reads_any : bool
        True if the optimizer can read gradients whose dtype is not the host's dtype.
    """

    def __init__(self, label: str, dtype: torch.dtype, keeps_bits: bool, reads_any: bool) -> None:
        self.label, self.dtype = label, dtype
        self._keeps_bits, self._reads_any = keeps_bits, reads_any
        self.models: dict[Tensor, Tensor] = {}  # host -> parameter of the model
        self._copies: dict[Tensor, Tensor] = {}  # host -> parameter, only for hosts that are copies
        self._hooks: dict[Tensor, Any] = {}
        self._buffers: dict[tuple[Tensor, torch.dtype], Tensor] = {}  # memory for gradients, made at the first use
        self._arriving: dict[Tensor, Tensor] = {}  # host -> gradient, which is being copied from the device
        self._given: dict[Tensor, Tensor] = {}  # host -> gradient that has been put into the host's `grad`
        self._sent: dict[Tensor, int] = {}  # parameter -> its `_version` when its values were last those of its host
        self._stream: torch.cuda.Stream | None = None
        self._after = AfterReduction(label)

    def of(self, p: Any) -> Any:
        """Return the host of the parameter `p` (see `Hosts`), and create it in the first call for `p`.

        If `p` is not a tensor, return `p`. torch's optimizer then raises an error.
        """
        if not isinstance(p, Tensor):
            return p
        known = next((host for host, model in self.models.items() if model is p), None) if p in self._hooks else None
        if known is not None:
            return known  # torch's optimizer then finds the duplicate
        refuse_wrapped(self.label, [p])
        if p.requires_grad and not p.is_floating_point():
            raise TypeError(f"{self.label}: parameters must be of a floating dtype; got {p.dtype} {tuple(p.shape)}")
        dtype = p.dtype if self._keeps_bits and p.dtype in HALVES else self.dtype
        if not (p.is_leaf and p.is_floating_point()) or (p.device.type == "cpu" and p.dtype == dtype):
            host = p
        else:
            host = torch.nn.Parameter(_on_cpu(p, dtype).copy_(p.detach()), requires_grad=p.requires_grad)
            self._copies[host] = p
            self._sent[p] = p._version
        self.models[host] = p
        self._hooks[p] = self._watch(host, p) if p.is_leaf and p.is_floating_point() else None
        return host

    def keep(self, hosts: Iterable[Tensor]) -> None:
        """Forget all hosts except the given ones, and remove the hooks of the parameters of the forgotten hosts."""
        kept = set(hosts)
        for host in [h for h in self.models if h not in kept]:
            p = self.models.pop(host)
            self._copies.pop(host, None)
            self._sent.pop(p, None)
            if (hook := self._hooks.pop(p)) is not None:
                hook.remove()

    def _watch(self, host: Tensor, p: Tensor) -> Any:
        """Add the hook for a parameter's gradients. A frozen parameter gets it too, because it may be trained later."""
        reference = weakref.ref(self)  # weak, so that a hook in the model does not keep the optimizer in memory

        def widen(_: Tensor) -> None:
            if (alive := reference()) is not None:
                alive._widen(p)

        def fetch(_: Tensor) -> None:
            if (alive := reference()) is not None:
                alive._after.add(p, lambda: alive._fetch(host))

        trained = p.requires_grad
        try:
            p.requires_grad_(True)  # torch adds hooks only to tensors that require a gradient
            if p.device.type != "cpu":
                self._stream = self._stream or (torch.cuda.Stream(p.device) if p.is_cuda else None)
                return p.register_post_accumulate_grad_hook(fetch)
            return p.register_hook(widen) if p.dtype in HALVES and not is_shard(p) else None
        finally:
            p.requires_grad_(trained)

    def _buffer(self, host: Tensor, dtype: torch.dtype) -> Tensor:
        key = (host, dtype)
        if key not in self._buffers:
            self._buffers[key] = _on_cpu(self.models.get(host, host), dtype)
        return self._buffers[key]

    @torch.no_grad()
    def _widen(self, p: Tensor) -> None:
        """If a parameter in the CPU's memory has a 16-bit gradient, convert the gradient to float32.

        torch calls this function before a backward pass adds to the gradient. If torch.distributed is initialised, the
        function does nothing.
        """
        if p.grad is None or p.grad.dtype == torch.float32:
            return
        if not (dist.is_available() and dist.is_initialized()):
            _put_gradient(p, self._buffer(p, torch.float32).copy_(p.grad))

    @torch.no_grad()
    def _fetch(self, host: Tensor) -> None:
        """Start the copy of a gradient to the CPU, and free the gradient on the device."""
        p = self.models[host]
        grad, p.grad = p.grad, None
        assert grad is not None  # because the hook of the gradient calls this function
        if host in self._arriving:  # there was an earlier backward pass since the last step
            self.wait()
            first, wide = self._arriving[host], torch.promote_types(grad.dtype, torch.float32)
            total = first if first.dtype == wide else self._buffer(host, wide).copy_(first)
            self._arriving[host] = total.add_(grad.detach().to(total))
            return
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(p.device))
            grad.record_stream(self._stream)
        with torch.cuda.stream(self._stream):
            self._arriving[host] = self._buffer(host, grad.dtype).copy_(grad, non_blocking=True)

    def wait(self) -> None:
        """Wait until all gradients have been copied from the device."""
        if self._stream is not None:
            self._stream.synchronize()

    def give_gradients(self) -> None:
        """Give the gradient of a parameter to its host, as `grad`. Do this for each host that is a copy.

        If the parameter is in the CPU's memory, its gradient and the host's gradient share their memory. So a
        change of one gradient, for example by ``GradScaler.unscale_``, also changes the other gradient.

        If the parameter is on another device, the host gets the gradient that `_fetch` has copied to the CPU.
        """
        if self._copies:
            self.wait()
        for host in self._copies:
            self.give(host)

    @torch.no_grad()
    def give(self, host: Tensor) -> None:
        """For one host that is a copy, set `grad` as `give_gradients` does. Copy `requires_grad` from the parameter."""
        p = self._copies.get(host, host)
        if host is p:
            return
        if host.requires_grad != p.requires_grad:
            host.requires_grad_(p.requires_grad)
        grad = p.grad if p.device.type == "cpu" else self._arriving.get(host)
        if grad is self._given.get(host):
            return
        if grad is None:
            host.grad = None
            del self._given[host]
        else:
            _put_gradient(host, grad.detach())
            self._given[host] = grad

    @torch.no_grad()
    def prepare(self, host: Tensor) -> None:
        """Prepare a host for its step, if the host is a copy of a parameter.

        If other code has changed the parameter since the last step, the host gets the new values. If the optimizer
        cannot read the dtype of the gradient, a converted copy of the gradient becomes the host's `grad`. After the
        step, call `drop`. If the step raises an error, call `forget_gradients` instead.
        """
        p = self._copies.get(host, host)
        if host is p:
            return
        if p._version != self._sent[p] and not torch.equal(local_of(host).to(p.dtype), local_of(p).to(host.device)):
            host.copy_(p)
        self._sent[p] = p._version
        grad = host.grad
        if grad is None or grad.dtype == host.dtype:
            return
        if not self._reads_any or torch.float64 in (grad.dtype, host.dtype):
            _put_gradient(host, self._buffer(host, host.dtype).copy_(grad))

    @torch.no_grad()
    def send_back(self, hosts: Iterable[Tensor]) -> None:
        """Copy the values of hosts into the parameters of the model."""
        with torch.cuda.stream(self._stream):
            for host in hosts:
                if (p := self._copies.get(host)) is not None:
                    p.copy_(host, non_blocking=True)
                    self._sent[p] = p._version
        if self._stream is not None:
            torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)

    @contextmanager
    def kept_values(self) -> Iterator[None]:
        """Return a context. At its end, parameters whose hosts are copies get back their old values, bit for bit."""
        values = {p: p.detach().to("cpu", copy=True) for p in self._copies.values()}
        try:
            yield
        finally:
            with torch.no_grad():
                for p, value in values.items():
                    p.copy_(value)
                    self._sent[p] = p._version

    def forget_gradients(self) -> None:
        """Forget which gradients the hosts have. The next `give_gradients` sets them again."""
        self._given.clear()

    def drop(self, host: Tensor) -> None:
        """Remove the gradient of a host and of its parameter."""
        p = self.models[host]
        self._arriving.pop(host, None)
        self._given.pop(host, None)
        host.grad = p.grad = None
        if (p, torch.float32) in self._buffers:  # `_widen` has changed grad_dtype
            p.grad_dtype = p.dtype

    def drop_gradients(self) -> None:
        """Remove all gradients, of hosts and of parameters."""
        self.wait()
        for host in self.models:
            self.drop(host)

    def divide_gradients(self, divisor: float) -> None:
        """Divide the gradients of all hosts by a number."""
        for host in self.models:
            if host.grad is not None:
                host.grad.div_(divisor)


def _put_gradient(p: Tensor, grad: Tensor) -> None:
    """Set the gradient of a tensor. The gradient may have any dtype."""
    p.grad = None
    p.grad_dtype = grad.dtype
    p.grad = grad


def _on_cpu(p: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.empty_like(p, dtype=dtype, device="cpu", pin_memory=p.is_cuda, requires_grad=False)
