"""Creates and converts states narrower than float32, and the low bits of 16-bit parameters.

With ``master_weights=True``, the low bits are the bits of a float32 weight that a 16-bit parameter cannot store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._base import formats
from .._base.arrays import Array, axes_of, flat, shaped
from .._base.memory import aligned_zeros, copies_of, zeros_like
from .._base.rules import Rule

Arrays = Mapping[str, Array]

#: Dtypes of states. Each can be converted into any other.
WIDTHS = ("float32", "bfloat16", "float16", "uint8")
SCALE = "_scale"


def dtype_of_states(p: Array, state_dtype: str | None, master_weights: bool) -> np.dtype[Any]:
    """Return the dtype of the states of a parameter."""
    if state_dtype == "bfloat16":
        return p.dtype if p.dtype.name == "bfloat16" else formats.bfloat16()
    if state_dtype is not None:
        return np.dtype(state_dtype)
    return np.dtype(np.float32) if master_weights and p.itemsize == 2 else p.dtype


def add(state: dict[str, Array], name: str, array: Array, initial: float, rule: Rule) -> None:
    """Add an array of zeros to the states of a parameter, with its scales, and write its initial value.

    If the initial value is 0, nothing is written. Then the first step writes the array for the first time, and the
    operating system places each page of memory near the core that writes it.
    """
    state[name] = array
    if array.dtype == np.uint8:
        state[name + SCALE] = aligned_zeros(formats.block_count(array.size), np.float32)
    if initial:
        fill(state, name, np.full(array.size, initial, np.float64 if array.itemsize == 8 else np.float32), rule)


def fill(arrays: Arrays, name: str, numbers: Array, rule: Rule) -> None:
    """Write numbers into a state. `numbers` is a flat array in the state's memory order."""
    target = arrays[name]
    if target.dtype == np.uint8:
        numbers, arrays[name + SCALE][...] = formats.encode_u8(numbers, rule.is_positive(name))
    target[...] = shaped(numbers.astype(target.dtype), target)


def kept_bits(p: Array) -> dict[str, Array]:
    """Return the states of a 16-bit parameter that `master_weights` needs, before the first step.

    No value has been rounded yet. So the low bits of a bfloat16 parameter are zeros. A float16 parameter has a float32
    copy in place of low bits.
    """
    if p.dtype == np.float16:
        return {"master": copies_of([p], [np.dtype(np.float32)])[0]}
    low = zeros_like([p], [np.dtype(np.int16)])[0]
    return {"low": low, "low_sum": aligned_zeros(formats.block_count(p.size), np.int32)}


def taken_over(saved: Arrays, own: Arrays, p: Array, rule: Rule) -> dict[str, Array]:
    """Return the saved states of a parameter, converted to the dtypes and the memory order of its states `own`.

    Unsuitable states are not converted, and later checks refuse them. If `own` has low bits and `saved` has none, new
    low bits are made for the parameter `p`.
    """
    result = dict(saved)
    if "low" not in saved and "master" not in saved:
        result |= {name: a for name, a in kept_bits(p).items() if name in own}
    elif {"low", "low_sum"} <= saved.keys() & own.keys() and _lies_otherwise(saved["low"], p):
        result["low_sum"] = formats.low_sums(flat(p).view(np.uint16))
    for name, target in own.items():
        if name not in saved or not _is_width(saved[name]) or not _is_width(target) or saved[name].shape != p.shape:
            continue
        if saved[name].dtype == target.dtype and not (target.dtype == np.uint8 and _lies_otherwise(saved[name], p)):
            continue
        if saved[name].dtype == np.uint8 and not _has_scales(saved, name):
            continue
        made = {name: np.empty_like(target)}
        if target.dtype == np.uint8:
            made[name + SCALE] = np.empty_like(own[name + SCALE])
        fill(made, name, flat(_like(decoded(saved, name, rule), p)), rule)
        result.pop(name + SCALE, None)
        result |= made
    return result


def decoded(arrays: Arrays, name: str, rule: Rule) -> Array:
    """Return a state as a float32 array of the same shape."""
    state = arrays[name]
    if state.dtype != np.uint8:
        return state.astype(np.float32)
    return shaped(formats.decode_u8(flat(state), arrays[name + SCALE], rule.is_positive(name)), state)


def _is_width(a: Any) -> bool:
    plain = isinstance(a, np.ndarray) and not isinstance(a, np.ma.MaskedArray)
    return plain and a.dtype.name in WIDTHS and a.dtype.isnative


def _has_scales(arrays: Arrays, name: str) -> bool:
    scales, need = arrays.get(name + SCALE), (formats.block_count(arrays[name].size),)
    return isinstance(scales, np.ndarray) and scales.dtype == np.float32 and scales.shape == need


def _lies_otherwise(a: Any, p: Array) -> bool:
    """Return True if `a` has the shape of `p` and another order of the axes in memory."""
    return isinstance(a, np.ndarray) and a.shape == p.shape and axes_of(a) != axes_of(p)


def _like(a: Array, p: Array) -> Array:
    """Return a copy in the memory order of `p`."""
    copy = zeros_like([p], [a.dtype])[0]
    copy[...] = a
    return copy
