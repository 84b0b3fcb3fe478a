"""Steps of optimizers that first compute a direction from each gradient, for torch's tensors.

The kernel then uses the direction in place of the gradient. For NumPy arrays, see `fusedstep.optim._directions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from .. import _core
from .._base import checks
from ._base import FusedOptimizer
from ._options import values_of
from ._ranks import Squares, is_shard, local_of, placement_of
from ._state import Rows, Tensor
from ._widths import own_state
from .rows import has_storage, prepared


class Moved(NamedTuple):
    """A change of the state `name` of a parameter. If the step is taken, the elements `where` get the value `value`."""

    param: Tensor
    name: str
    where: Any
    value: Tensor


class Raw(NamedTuple):
    """The gradient of a parameter, and the options of the parameter's group.

    `place` is the index of the parameter among all parameters of the optimizer. `values` is the gradient. If the
    gradient is sparse, `values` has only the stored rows, and `rows` has the indices of these rows in the parameter.
    Otherwise `rows` is None.
    """

    place: int
    options: Mapping[str, Any]
    values: Tensor
    rows: Any = None


class DirectedSteps(FusedOptimizer):
    """Base of optimizers whose kernel gets directions in place of gradients."""

    #: Options of a parameter group that this optimizer has, but the optimizer of this name for NumPy arrays does not.
    own_extras: tuple[str, ...] = ()
    #: False if 16-bit gradients are converted to float32 before the direction is computed.
    in_type_of_gradient = False

    @classmethod
    def check_group(cls, optimizer: torch.optim.Optimizer, k: int) -> None:
        """Raise an error if this class cannot update the parameters of group k of an optimizer.

        Complex parameters are refused. A DTensor is refused if its group does not have ``adamw=True``.
        """
        group = optimizer.param_groups[k]
        for what, p in named(f"{cls.__name__}: param_groups[{k}]: ", group):
            if p.is_complex():
                raise RuntimeError(f"{what}: {cls.__name__} does not support complex parameters; got {p.dtype}")
            if is_shard(p) and not group.get("adamw"):
                hint = " (give its group adamw=True)" if cls.__name__ == "Muon" else ""
                raise ValueError(
                    f"{what} must be an ordinary tensor, because {cls.__name__} computes an update from whole rows and "
                    f"columns; got {placement_of(p)}{hint}"
                )
        super().check_group(optimizer, k)

    def _step(self, closure: Callable[[], Any] | None, grad_norm: float | None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        ranks, scale = self._sharing(), self._grad_scale()
        if ranks is not None and self._needs_ranks(grad_norm):
            found_inf, norm = ranks.decide(self._squares_of_gradients, self._found_inf())
            grad_norm = norm / scale if grad_norm is None else grad_norm
            if found_inf:
                return loss
        raw = self._raw()
        if grad_norm is None and (self.clip_norm is not None or self.skip_nonfinite):
            grad_norm = float(torch.nn.utils.get_total_norm([g.values for g in raw.values()])) / scale
        factor = 1.0
        if self.clip_norm is not None and grad_norm is not None:
            coefficient = self.clip_norm / (checks.norm(f"{type(self).__name__}.step: grad_norm", grad_norm) + 1e-6)
            factor = 1.0 if coefficient > 1 else coefficient  # nan stays nan

        def fused(directions: Rows) -> bool | None:
            before = self._info
            self._step_with_care(grad_norm, directions, directed=True)
            return None if self._info is before or self._info is None else not self._info.skipped

        self._around(raw, factor / scale, fused)
        return loss

    def _squares_of_gradients(self) -> list[Squares]:
        """Make all checks of a step, including those of states. Return the sums of squares of this rank's gradients."""
        found = self._squares(None)
        raw = self._raw()
        self._check_can_be_zeroed(raw)
        for p, g in raw.items():
            self._own(p, g.options)
        return found

    def step_one(self, p: Tensor) -> None:
        """Update one parameter; see `step_in_backward`."""
        if self.skip_nonfinite and p.grad is not None and not bool(torch.isfinite(p.grad).all()):
            return

        def fused(directions: Rows) -> bool | None:
            self._step_single(p, directions)
            return True

        self._around({q: g for q, g in self._raw().items() if q is p}, 1.0, fused)

    @torch.no_grad()
    def _raw(self) -> dict[Tensor, Raw]:
        """Return the gradients that a step supports. For all other gradients, the kernel's step raises an error."""
        found, k = {}, 0
        for n, group in enumerate(self.param_groups):
            options = self._options_of(n, group)
            for p in group["params"]:
                g, i, k = p.grad, k, k + 1
                if g is not None and g.layout == torch.sparse_coo and self.kernel.takes_rows:
                    what = f"{type(self).__name__}.step: grads[{i}]"
                    rows, values = prepared(self, what, group, p).coalesced()
                    found[p] = Raw(i, options, torch.from_numpy(values).reshape(len(rows), *p.shape[1:]), rows)
                elif g is not None and _is_plain(p, g):
                    found[p] = Raw(i, options, local_of(g))
        return found

    @torch.no_grad()
    def _around(self, raw: Mapping[Tensor, Raw], factor: float, fused: Callable[[Rows], bool | None]) -> None:
        """Compute directions from the gradients `raw`, and take a step with directions in place of these gradients.

        If the step is taken, the states that were computed together with the directions are also written.

        The gradients are multiplied by `factor`, which clips them and removes a GradScaler's scale. Then the
        directions are computed from them. The kernel also multiplies the directions by `factor`, as if they were
        gradients. So they are divided by `factor` before the kernel gets them.

        `fused` takes the step with the kernel. It returns True if the step was taken, False if it was skipped, and None
        if a GradScaler has found an inf or nan. With `zero_grads`, the gradients are zeroed unless the result is None.
        """
        self._check_can_be_zeroed(raw)
        bound, directions, moved = self.clip_value, {}, []
        for p, (_, options, values, rows) in raw.items():
            if not self._directs(options) and bound is None:
                continue
            direction = self._scaled(values, factor)
            direction = direction if bound is None else direction.clamp(-bound, bound)
            if self._directs(options):
                of_states, direction = self._direction(p, direction, options, rows)
                moved += of_states
            if factor != 1:
                direction = direction / factor if factor else torch.zeros_like(direction)
            whole = direction if rows is None else _core.RowGradient(rows, direction.contiguous().numpy(), p.size(0))
            directions[p] = whole
        stepped = fused(directions)
        for p, name, where, value in moved if stepped else ():
            state = self.state.get(p, {}).get(name)
            if state is not None:  # another thread may have removed it
                state[where] = value
        if self.zero_grads and stepped is not None:
            for g in [p.grad for p in raw if p.grad is not None]:
                g.zero_()

    def _check_can_be_zeroed(self, raw: Mapping[Tensor, Raw]) -> None:
        for g in raw.values() if self.zero_grads else ():
            values = g.values
            repeats = any(n > 1 and stride == 0 for n, stride in zip(values.shape, values.stride(), strict=True))
            if g.rows is None and repeats:
                what = f"{type(self).__name__}.step: grads[{g.place}]"
                got = f"{values.dtype} {tuple(values.shape)} with strides {values.stride()}"
                raise ValueError(f"{what} must be without repeated elements if zero_grads is True; got {got}")

    def _scaled(self, g: Tensor, factor: float) -> Tensor:
        if not self.in_type_of_gradient:
            g = g.to(torch.promote_types(g.dtype, torch.float32))
        return g if factor == 1 else g * factor

    def _options_of(self, n: int, group: Mapping[str, Any]) -> Mapping[str, Any]:
        return values_of(self.kernel, group, f"{type(self).__name__}: param_groups[{n}]: ")

    def _directs(self, options: Mapping[str, Any]) -> bool:
        """Return True if a group with these options uses directions, and False if it uses gradients."""
        return True

    def _direction(self, p: Tensor, g: Tensor, options: Mapping[str, Any], rows: Any) -> tuple[list[Moved], Tensor]:
        """Return (changes of own states, direction) for the parameter `p` with the gradient `g`.

        Own states are states of `p` that the directions need and that the kernel does not use. The kernel gets the
        direction in place of the gradient. If the gradient is sparse, `g` has only the stored rows, and `rows` has the
        indices of these rows in the parameter. Otherwise `rows` is None.
        """
        own = self._own(p, options)
        where = ... if rows is None else rows
        taken = self.state.get(p, {}).get("step", 0)
        part = {name: a[where] for name, a in own.items()}
        dtype = str(p.dtype).removeprefix("torch.")
        with np.errstate(all="ignore"):
            found, direction = self.kernel._directed(g.detach().numpy(), part, int(taken) + 1, options, dtype)
        at = ... if rows is None else torch.from_numpy(rows)
        moved = [Moved(p, name, at, torch.from_numpy(np.asarray(value))) for name, value in found.items()]
        return moved, torch.from_numpy(np.asarray(direction))

    def _own(self, p: Tensor, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameter's own states as arrays. Missing states are created.

        Own states are states that the directions need and that the kernel does not use.
        """
        entry, result = self.state.get(p, {}), {}
        for name, shape in self.kernel._own_states(tuple(p.shape)).items():
            what = f"{type(self).__name__}: state[{name!r}]"
            start = self.kernel._initial_state(name, options)
            result[name] = own_state(what, entry.get(name), shape, p.dtype, start).numpy()
        return result


def named(where: str, group: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield (name for error messages, parameter) for each parameter of a group."""
    names = group.get("param_names", [""] * len(group["params"]))
    for i, (p, name) in enumerate(zip(group["params"], names, strict=True)):
        yield f"{where}params[{i}]" + (f' ("{name}")' if name else ""), p


def _is_plain(p: Tensor, g: Tensor) -> bool:
    fits = g.layout == torch.strided and g.shape == p.shape and g.device == p.device and g.device.type == "cpu"
    return fits and not g.is_neg() and has_storage(local_of(g))
