"""The bytes per parameter that an optimizer needs with its present options and with other options."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from math import prod
from typing import Any, NamedTuple

from .._base import formats
from .._base.rules import NARROW, RULES
from ..optim import Optimizer

PARTS = ("weights", "gradients", "states", "averages", "kept_bits", "scales")
WIDTHS = {"float32": 4, "bfloat16": 2, "uint8": 1}


@dataclass(frozen=True)
class Bytes:
    """Bytes per parameter for one parameter group or one setting, as returned by `memory`.

    Here, a parameter is one number of a parameter array. A setting is a value of the option `state_dtype` together with
    a value of the option `master_weights`.

    Attributes
    ----------
    name : str
        The group, such as "groups[0]", or the setting, such as 'state_dtype="uint8", master_weights=True'.
        ``master_weights=False`` is left out.
    parameters : int
        Number of parameters: the sum of the sizes of the parameter arrays.
    weights, gradients, states, averages : float
        Bytes per parameter of the weights, their gradients, the optimizer's states and the averages of the weights.
    kept_bits : float
        Bytes per parameter for ``master_weights``. For each float16 parameter, a float32 weight is kept. For each
        bfloat16 parameter, only the lower 16 bits of a float32 weight are kept, because the parameter is the upper 16
        bits. In addition, every 256 bfloat16 parameters have one checksum of 4 bytes.
    scales : float
        Bytes per parameter for the scales of 8-bit states.
    """

    name: str
    parameters: int
    weights: float
    gradients: float
    states: float
    averages: float
    kept_bits: float
    scales: float

    @property
    def total(self) -> float:
        """The sum of the bytes per parameter of all attributes from `weights` to `scales`."""
        return sum(getattr(self, part) for part in PARTS)


@dataclass(frozen=True)
class Memory:
    """The memory of an optimizer, as returned by `memory`.

    Attributes
    ----------
    groups : tuple of Bytes
        One `Bytes` for each parameter group: what the group needs with its present options.
    settings : tuple of Bytes
        One `Bytes` for each possible combination of values of `state_dtype` and `master_weights`: what all groups
        together would need with these values.
    """

    groups: tuple[Bytes, ...]
    settings: tuple[Bytes, ...]

    def __repr__(self) -> str:
        heads = ("bytes per parameter", "parameters", *PARTS, "total")
        rows = [[str(v) if k < 2 else f"{v:.2f}" for k, v in enumerate((*astuple(b), b.total))]
                for b in (*self.groups, *self.settings)]  # fmt: skip
        first = max(len(row[0]) for row in [[heads[0]], *rows])
        lines = [
            row[0].ljust(first) + "".join(c.rjust(len(h) + 2) for c, h in zip(row[1:], heads[1:], strict=True))
            for row in [list(heads), *rows]
        ]
        return "\n".join(lines)


#: The first six fields of `_Tensor`.
_Described = tuple[int, int, int, int, bool, tuple[int, ...]]


class _Tensor(NamedTuple):
    size: int
    itemsize: int
    weight: int  # bytes per element of the parameter and of its copy in the CPU's memory, if there is one
    gradient: int  # bytes per element of the gradient
    is_bfloat16: bool
    shape: tuple[int, ...]
    own: int  # number of elements of the states whose shapes differ from the parameter's shape
    states: int  # number of states with the parameter's shape
    state_dtype: str | None
    averaged: bool
    keeps_bits: bool


def memory(optimizer: Any) -> Memory:
    """Return the bytes per parameter that an optimizer needs with its present options and with other options.

    Here, a parameter is one number of a parameter array. The bytes of weights, gradients, states and averages are
    counted, but not those of step counters. If a gradient does not exist yet, it is assumed to have the dtype of its
    parameter. States are counted even if the first step has not created them yet.

    Parameters
    ----------
    optimizer : optimizer of fusedstep or of fusedstep.torch
        An `OffloadedOptimizer` is also possible, if its `optimizer_class` is of fusedstep.torch. Then the weights
        in the CPU's memory are counted, including the optimizer's copies of the model's weights. Weights on another
        device are not counted.

    Returns
    -------
    Memory
        `groups` has a `Bytes` for each group. `settings` has a `Bytes` for each combination of `state_dtype` and
        `master_weights` that is possible for these parameters.

    Raises
    ------
    TypeError
        If `optimizer` is not an optimizer of this package.

    Examples
    --------
    >>> import numpy as np
    >>> import fusedstep as fs
    >>> found = fs.inspect.memory(fs.AdamW([np.zeros(512, np.float32)]))
    >>> found.groups[0].states, found.groups[0].total
    (8.0, 16.0)
    >>> [(setting.name, setting.total) for setting in found.settings][-1]
    ('state_dtype="uint8"', 10.03125)
    """
    groups = _groups(optimizer)
    cls = _kernel(optimizer)
    has = [t for group in groups for t in group]
    masters = (False, True) if any(t.itemsize == 2 for t in has) else (False,)
    widths: list[str | None] = [None, *(w for w in WIDTHS if cls.element_wise or w not in NARROW)]
    if any(t.itemsize == 8 for t in has):
        widths = [None]
    settings = [
        _count(_setting(width, kept), [t._replace(state_dtype=width, keeps_bits=kept and t.itemsize == 2) for t in has])
        for kept in masters
        for width in widths
    ]
    return Memory(tuple(_count(f"groups[{k}]", group) for k, group in enumerate(groups)), tuple(settings))


def _setting(width: str | None, master_weights: bool) -> str:
    text = "state_dtype=" + ("None" if width is None else f'"{width}"')
    return text + ", master_weights=True" * master_weights


def _kernel(optimizer: Any) -> type[Optimizer]:
    if isinstance(optimizer, Optimizer):
        return type(optimizer)
    kernel = getattr(optimizer, "kernel", None) if "fusedstep.torch" in sys.modules else None
    if not (isinstance(kernel, type) and issubclass(kernel, Optimizer)):
        raise TypeError(
            f"memory: optimizer must be an optimizer of fusedstep or of fusedstep.torch; got {type(optimizer).__name__}"
        )
    return kernel


def _groups(optimizer: Any) -> list[list[_Tensor]]:
    cls = _kernel(optimizer)
    is_numpy = isinstance(optimizer, Optimizer)
    averaged, kept = optimizer._ema_decay is not None, optimizer._master_weights
    result = []
    for group in optimizer.groups if is_numpy else optimizer.param_groups:
        values = {n: o.default for n, o in cls.options.items()} | {n: v for n, v in group.items() if v is not None}
        states = len(RULES[cls.rule].state_names(cls._variant(values)))
        width = group.get("state_dtype")
        sizes = list(_of_numpy(group) if is_numpy else _of_torch(optimizer, group))
        own = [sum(map(prod, cls._own_states(s[-1]).values())) for s in sizes]
        result.append(
            [_Tensor(*s, n, states, width, averaged, kept and s[1] == 2) for s, n in zip(sizes, own, strict=True)]
        )
    return result


def _of_numpy(group: Any) -> Iterator[_Described]:
    for p in group["params"]:
        yield p.size, p.itemsize, p.itemsize, p.itemsize, p.dtype.name == "bfloat16", p.shape


def _of_torch(optimizer: Any, group: Any) -> Iterator[_Described]:
    for p in group["params"]:
        source = optimizer._of_model(p)  # another tensor if p is the copy of an OffloadedOptimizer
        copied = source is not p and source.device.type == "cpu"
        weight = p.element_size() + (source.element_size() if copied else 0)
        grad = source if source.grad is None else source.grad
        is_bfloat16 = str(p.dtype) == "torch.bfloat16"
        yield p.numel(), p.element_size(), weight, grad.element_size(), is_bfloat16, tuple(p.shape)


def _count(name: str, tensors: list[_Tensor]) -> Bytes:
    total, sums = sum(t.size for t in tensors), dict.fromkeys(PARTS, 0)
    for t in tensors:
        blocks = 4 * formats.block_count(t.size)  # bytes of one float32 number per block of elements
        width = WIDTHS[t.state_dtype] if t.state_dtype else 4 if t.keeps_bits else t.itemsize
        sums["weights"] += t.weight * t.size
        sums["gradients"] += t.gradient * t.size
        sums["states"] += t.states * width * t.size + t.own * max(4, t.itemsize)
        sums["averages"] += max(4, t.itemsize) * t.size * t.averaged
        if t.keeps_bits:
            sums["kept_bits"] += 2 * t.size + blocks if t.is_bfloat16 else 4 * t.size
        sums["scales"] += t.states * blocks * (width == 1)
    return Bytes(name, total, **{part: value / max(total, 1) for part, value in sums.items()})
