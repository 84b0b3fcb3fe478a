"""An optimizer that runs on the CPU. The model may be on another device."""

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
    r"""Keep the optimizer's state and the master weights in the CPU's memory, and the model on its device.

    For each parameter of the model, the optimizer updates a tensor in the CPU's memory: the *host* of the parameter.
    Usually the host is a copy of the parameter. But if the parameter is in the CPU's memory and already has the dtype
    that hosts must have (see `master_dtype`), the host is the parameter itself.

    When the backward pass has computed a gradient on a CUDA device, a separate CUDA stream copies the gradient to
    pinned memory of the CPU. The backward pass continues during the copy. After the copy, the gradient on the device is
    freed. At the end of a step, the new values of the hosts are copied into the model. `step` returns before this copy
    is complete. If the program gives work to the current CUDA stream after `step`, the work starts when the copy is
    complete.

    By default, hosts are float32. With an optimizer of this package, 16-bit parameters are an exception: the host has
    the dtype of the parameter, and the optimizer uses ``master_weights=True``. The state of a float16 host then
    contains a float32 master weight. A bfloat16 host is the upper 16 bits of the master weight, and the state of the
    host contains the lower 16 bits. So the steps are as precise as with float32 hosts.

    Parameters
    ----------
    optimizer_class : type
        Class of the optimizer, such as `fusedstep.torch.AdamW`. The new object is also an instance of this class.
    model : torch.nn.Module, or parameters or groups as for torch's optimizers
        The parameters may be on any device, including the CPU. They may have any floating dtype.
    *args, **options
        Other arguments of `optimizer_class`.
    master_dtype : torch.dtype
        The dtype of the hosts. The default is float32. If `optimizer_class` is of this package and `master_dtype` is
        float32, hosts of 16-bit parameters have the dtype of their parameters instead.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or not valid for `optimizer_class`.

    Notes
    -----
    ``param_groups`` contains the hosts with their gradients. So a ``GradScaler`` can divide the gradients by its scale.
    If other code has changed a parameter of the model, the next step first copies the new values into the host. The
    contexts `averaged` and `lookahead` of this package's optimizers change both the hosts and the model.

    If there is one backward pass before a step, the gradients keep their own dtype until the step. If there are several
    passes, the gradients of 16-bit parameters are added in float32. (In a process of torch.distributed, gradients of
    parameters in the CPU's memory are added in their own dtype.) When a step ends, it removes the gradients of the
    hosts and of the model. So a program need not call ``zero_grad`` after a step.

    For a parameter in the CPU's memory, the gradient stays in ``p.grad`` until the step. So
    ``torch.nn.utils.clip_grad_norm_(model.parameters(), ...)`` clips this gradient. For a parameter on another device,
    ``p.grad`` is None after the backward pass, so ``clip_grad_norm_`` does not clip the gradient. Use the option
    ``clip_norm`` of this package's optimizers instead.

    In a process of torch.distributed, gradients are copied to the CPU at the end of the backward pass, after
    DistributedDataParallel has reduced them. In a pass under DistributedDataParallel's ``no_sync``, gradients stay on
    the device. The next pass adds its gradients to them on the device, in the dtype of the gradients. Wrap the model in
    DistributedDataParallel before the first pass. With ``fully_shard``, the master weights and the state are sharded
    like the parameters. FullyShardedDataParallel (FSDP1) and ZeroRedundancyOptimizer cause an error.

    The speed of a training step with the model on a GPU has not been measured.

    Examples
    --------
    In this example, the parameters of the model are their own hosts. In the state of each host, ``"low"`` has the lower
    16 bits of the master weights, and ``"low_sum"`` has checksums of the host.

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
        """Make an instance of a new class, which is a subclass of this class and of `optimizer_class`."""
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
        """The groups of hosts; see `OffloadedOptimizer`. A host's ``grad`` is the gradient of the model's parameter."""
        self._hosts.give_gradients()
        groups: list[dict[str, Any]] = self.__dict__["param_groups"]
        return groups

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        self.__dict__["param_groups"] = groups

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """True if a parameter is float16. Then the step, not GradScaler, divides the gradients by the scale."""
        return any(p.dtype == torch.float16 for p in self._hosts.models.values())

    @_step_supports_amp_scaling.setter
    def _step_supports_amp_scaling(self, value: bool) -> None:
        """Ignore the value, which torch's constructors set for ``fused=True``."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters of the model."""
        given = param_group.get("params") if isinstance(param_group, dict) else None
        if given is None or isinstance(given, set):
            super().add_param_group(param_group)  # torch raises an error for this group
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
        """Compute one step on the CPU, and copy the new values of the parameters into the model.

        Parameters
        ----------
        closure : callable, optional
            Evaluates the model again and returns the loss.
        **options
            Other arguments of ``optimizer_class.step``. Here, `optimizer_class` is the first argument of
            `OffloadedOptimizer`.

        Returns
        -------
        The result of `closure`, or None without a closure.
        """
        loss, hosts = None, self._hosts
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # Check for FSDP1 again, because the user may have wrapped the model after the optimizer was made.
        refuse_wrapped(f"{type(self).__name__}.step", hosts.models.values())
        hosts.give_gradients()
        try:
            for host in hosts.models:
                hosts.prepare(host)
            if self._is_ours:  # call `_step`, because torch already runs the hooks for `step` of this class
                super()._step(None, **{"grad_norm": None} | options)  # type: ignore[misc]
            else:
                self._step_theirs(options)
            hosts.send_back(host for host in hosts.models if host.grad is not None)
        except BaseException:
            hosts.forget_gradients()  # because some hosts may have converted copies of their gradients
            raise
        hosts.drop_gradients()
        return loss

    def _step_theirs(self, options: dict[str, Any]) -> None:
        """Call the step of torch's optimizer without its hooks.

        With a GradScaler, first divide the gradients by its scale. But if the GradScaler has found an inf or nan,
        do nothing.
        """
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
        """Update the host p, and copy its values into the model; see `step_in_backward`."""
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
        """Swap `values` into the hosts, and copy them into the model. At the end, restore the hosts and the model."""
        with self._hosts.kept_values(), super()._put(method, values):  # type: ignore[misc]
            self._hosts.send_back(self._hosts.models)
            yield

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Remove the gradients, on the CPU and on the device. `set_to_none` has no effect."""
        self._hosts.drop_gradients()

    def state_dict(self) -> dict[str, Any]:
        """Return the state dict, in the format of `optimizer_class`.

        For a parameter whose host (see `OffloadedOptimizer`) has another dtype than the parameter, the state also has
        the key "master": a copy of the host.
        """
        saved = super().state_dict()
        hosts = [p for group in self.param_groups for p in group["params"]]
        for k, host in enumerate(hosts):
            if host.dtype != self._hosts.models[host].dtype:
                saved["state"][k] = {**saved["state"].get(k, {}), "master": host.detach().clone()}
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict of this class or of `optimizer_class`.

        See `OffloadedOptimizer` for the host of a parameter, and the method `state_dict` for the key "master". If the
        state of a parameter has no "master", the host of this parameter gets the values that the parameter has in the
        model.

        Raises
        ------
        ValueError
            If a "master" is not a tensor with the shape of its parameter, or if the state dict is not valid for
            `optimizer_class`. In these cases, nothing is changed.
        """
        saved = [k for group in state_dict["param_groups"] for k in group["params"]]
        hosts = [p for group in self.param_groups for p in group["params"]]
        entries = {k: dict(entry) for k, entry in state_dict["state"].items()}
        masters: dict[Tensor, Tensor] = {}
        for k, host in zip(saved, hosts, strict=False):  # the call of super() below refuses different lengths
            master = entries.get(k, {}).get("master")
            if master is not None and not (isinstance(master, Tensor) and master.shape == host.shape):
                where, need = f"{type(self).__name__}.load_state_dict: state[{k}]", f"shape {tuple(host.shape)}"
                raise ValueError(f"{where}['master'] must be a tensor of {need}; got {named(master)}")
            if master is not None and not (self._is_ours and host.dtype == torch.float16):
                masters[host] = entries[k].pop("master")
        for k, host in zip(saved, hosts, strict=False):
            if host in masters and host.dtype == torch.bfloat16:  # an older checkpoint, which has float32 hosts
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
        """Raise an error, because a copy of the optimizer would not step the model."""
        raise TypeError("OffloadedOptimizer: cannot be copied or pickled without its model; use state_dict")


def _halves(master: Tensor) -> tuple[Tensor, Tensor]:
    """Split float32 master weights into bfloat16 parameters and the 16 bits that these parameters lack."""
    items, low = formats.halves_of(master.detach().to("cpu", torch.float32).contiguous().numpy())
    return torch.from_numpy(items.view(np.int16)).view(torch.bfloat16), torch.from_numpy(low)


def _low_bits(master: Tensor) -> dict[str, Tensor]:
    high, low = _halves(master)
    sums = formats.low_sums(high.view(torch.int16).numpy().ravel())
    return {"low": low, "low_sum": torch.from_numpy(sums)}
