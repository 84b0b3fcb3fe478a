"""An optimizer on the CPU for a model that may be on another device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from .._base import formats
from ._base import FusedOptimizer
from ._hosts import Hosts
from ._state import Tensor
from ._widths import named
from ._wrapped import refuse_wrapped


class OffloadedOptimizer(torch.optim.Optimizer):
    r"""Keep master weights and state in the CPU's memory, and the model on its device.

    The optimizer steps the *host* of each parameter. A parameter in the CPU's memory is its own host: it is stepped in
    place, in one sweep. The host of any other parameter is a copy in pinned memory. When the backward pass has
    completed a gradient, a separate stream copies it to the CPU, and the gradient is freed on the device. The backward
    pass continues during the copy. After the step, the new parameters are copied back. During this copy the device may
    do work that does not need the new parameters.

    With an optimizer of this package, 16-bit hosts keep their dtype. A state holds the missing bits of float32
    (``master_weights=True``), so each step gives the same values as a step of float32 parameters. With an optimizer of
    torch, the hosts are copies in `master_dtype`. Only the first step allocates memory.

    Parameters
    ----------
    optimizer_class : type
        Class of the optimizer, such as `fusedstep.torch.AdamW`. The result is an instance of this class.
    model : torch.nn.Module, or parameters or groups as for an optimizer
        Its parameters may be on any device, the CPU included. They may have any floating dtype.
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
    ``param_groups`` contain the hosts and their gradients, so that a ``GradScaler`` can divide the gradients. If other
    code has written into the model, a host that is a copy takes the written values before the step. Hooks of `step` run
    before and after the whole step. `averaged` and `lookahead` change the model too.

    The gradients of one backward pass are used in their own dtype. If there are more passes before a step, the
    gradients of 16-bit parameters are added in float32. A step drops the gradients after it has used them. So the next
    pass starts from zero, also in loops of other libraries that only call ``model.zero_grad()``. For a parameter in the
    CPU's memory, the gradient stays in ``p.grad`` until the step, and
    ``torch.nn.utils.clip_grad_norm_(model.parameters(), ...)`` clips it. For a parameter on another device, the
    gradient does not stay in ``p.grad``, and that function would clip nothing: use ``clip_norm=``. The speed on a GPU
    has not been measured.

    In a process of torch.distributed, the gradients are copied to the CPU at the end of the backward pass, when
    DistributedDataParallel has reduced them. After a pass under its ``no_sync`` they stay on the device and are added
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
        label = type(self).__name__
        if not (isinstance(master_dtype, torch.dtype) and master_dtype.is_floating_point):
            raise TypeError(f"{label}: master_dtype must be a floating dtype of torch; got {master_dtype!r}")
        self._theirs = optimizer_class
        self._is_ours = issubclass(optimizer_class, FusedOptimizer)
        keeps_bits = self._is_ours and master_dtype == torch.float32
        self._hosts = Hosts(label, master_dtype, keeps_bits, reads_any=self._is_ours)
        if keeps_bits:
            options.setdefault("master_weights", True)
        try:
            super().__init__(model.parameters() if isinstance(model, torch.nn.Module) else model, *args, **options)
        except BaseException:
            self._hosts.keep([])
            raise

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of hosts, with the gradients that have been copied."""
        self._hosts.give_gradients()
        groups: list[dict[str, Any]] = self.__dict__["param_groups"]
        return groups

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        self.__dict__["param_groups"] = groups

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """True if GradScaler leaves the division to the step, because it refuses to divide float16 gradients itself."""
        return any(p.dtype == torch.float16 for p in self._hosts.models.values())

    @_step_supports_amp_scaling.setter
    def _step_supports_amp_scaling(self, value: bool) -> None:
        """Ignore the value, which torch's constructors set for ``fused=True``."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of the model's parameters."""
        given = param_group.get("params") if isinstance(param_group, dict) else None
        if given is None or isinstance(given, set):
            super().add_param_group(param_group)  # torch refuses the group
            return
        before = list(self._hosts.models)
        of = self._hosts.of
        try:
            members = [given] if isinstance(given, Tensor) else list(given)
            hosts = [(m[0], of(m[1])) if isinstance(m, tuple) and len(m) == 2 else of(m) for m in members]
            super().add_param_group({**param_group, "params": hosts})
        except BaseException:
            self._hosts.keep(before)
            raise

    def step(self, closure: Callable[[], Any] | None = None, **options: Any) -> Any:
        """Update the hosts with their gradients, and copy the hosts into the model.

        Parameters
        ----------
        closure : callable, optional
            Evaluates the model again and returns the loss.
        **options
            Options of the step of `optimizer_class`.

        Returns
        -------
        The result of `closure`, or None.
        """
        loss, hosts = None, self._hosts
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        refuse_wrapped(f"{type(self).__name__}.step", hosts.models.values())  # the model may have been wrapped later
        hosts.give_gradients()
        try:
            for host in hosts.models:
                hosts.prepare(host)
            if self._is_ours:
                super()._step(None, **{"grad_norm": None} | options)  # type: ignore[misc]  # torch runs the hooks around this step
            else:
                self._step_theirs(options)
            hosts.send_back(host for host in hosts.models if host.grad is not None)
        except BaseException:
            hosts.forget_gradients()  # forget the converted gradients
            raise
        hosts.drop_gradients()
        return loss

    def _step_theirs(self, options: dict[str, Any]) -> None:
        """Step by torch's optimizer, which does not divide by a GradScaler's scale. Its hooks do not run."""
        scaled: dict[str, Any] = {
            name: self.__dict__.pop(name) for name in ("grad_scale", "found_inf") if name in self.__dict__
        }
        try:
            if float(scaled.get("found_inf", 0)):
                return
            if (scale := scaled.get("grad_scale")) is not None:
                self._hosts.divide_gradients(float(scale))
            step = self._theirs.step
            (step.__wrapped__ if getattr(step, "hooked", False) else step)(self, **options)
        finally:
            self.__dict__.update(scaled)

    def step_one(self, p: Tensor) -> None:
        """Update one host; see `step_in_backward`."""
        self._hosts.wait()
        self._hosts.give(p)
        self._hosts.prepare(p)
        super().step_one(p)  # type: ignore[misc]
        self._hosts.send_back([p])

    def _of_model(self, p: Tensor) -> Tensor:
        return self._hosts.models[p]

    def _drop_gradient(self, p: Tensor) -> None:
        self._hosts.wait()
        self._hosts.drop(p)

    @contextmanager
    def _put(self, method: str, values: dict[Tensor, Tensor]) -> Iterator[None]:
        """Swap values of the hosts and of the model."""
        with self._hosts.kept_values(), super()._put(method, values):  # type: ignore[misc]
            self._hosts.send_back(self._hosts.models)
            yield

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, on the CPU and on the device."""
        self._hosts.drop_gradients()

    def state_dict(self) -> dict[str, Any]:
        """Return the state dict of `optimizer_class`, and the hosts that have more bits than the model."""
        saved = super().state_dict()
        hosts = [p for group in self.param_groups for p in group["params"]]
        for k, host in enumerate(hosts):
            if host.dtype != self._hosts.models[host].dtype:
                saved["state"][k] = {**saved["state"].get(k, {}), "master": host.detach().clone()}
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict of this class or of `optimizer_class`. Hosts that are not in it get the model's values.

        Raises
        ------
        ValueError
            If a master weight does not have the shape of its parameter, and as for `optimizer_class`. In both cases
            nothing is changed.
        """
        saved = [k for group in state_dict["param_groups"] for k in group["params"]]
        hosts = [p for group in self.param_groups for p in group["params"]]
        entries = {k: dict(entry) for k, entry in state_dict["state"].items()}
        masters: dict[Tensor, Tensor] = {}
        for k, host in zip(saved, hosts, strict=False):  # other lengths are refused below
            master = entries.get(k, {}).get("master")
            if master is not None and not (isinstance(master, Tensor) and master.shape == host.shape):
                need = f"a tensor of {tuple(host.shape)}"
                raise ValueError(
                    f"{type(self).__name__}.load_state_dict: master of {k} must be {need}; got {named(master)}"
                )
            if master is not None and not (self._is_ours and host.dtype == torch.float16):
                masters[host] = entries[k].pop("master")
        for k, host in zip(saved, hosts, strict=False):
            if host in masters and host.dtype == torch.bfloat16:  # a checkpoint from before low bits were saved
                entries[k] |= _low_bits(masters[host])
        super().load_state_dict({**state_dict, "state": {k: entry for k, entry in entries.items() if entry}})
        self._take_masters(masters)

    @torch.no_grad()
    def _take_masters(self, masters: dict[Tensor, Tensor]) -> None:
        for host, p in self._hosts.models.items():
            master = masters.get(host)
            if host.dtype == torch.bfloat16 and master is not None:
                host.copy_(_halves(master)[0])
            elif host is not p or master is not None:
                host.copy_(p if master is None else master)
            if host is not p and host.dtype == p.dtype:
                p.copy_(host)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse: a copy would not be the optimizer of the model."""
        raise TypeError("OffloadedOptimizer: cannot be copied or pickled without its model; use state_dict")


def _halves(master: Tensor) -> tuple[Tensor, Tensor]:
    """Return float32 numbers as bfloat16 and low bits, with the rounding of parameters that keep low bits."""
    items, low = formats.halves_of(master.detach().to("cpu", torch.float32).contiguous().numpy())
    return torch.from_numpy(items.view(np.int16)).view(torch.bfloat16), torch.from_numpy(low)


def _low_bits(master: Tensor) -> dict[str, Tensor]:
    high, low = _halves(master)
    sums = formats.low_sums(high.view(torch.int16).numpy().ravel())
    return {"low": low, "low_sum": torch.from_numpy(sums)}
