"""Functions that create and convert states narrower than float32, and the low bits of bfloat16 parameters.

With ``master_weights=True``, the optimizer keeps a float32 weight for each element of a bfloat16 parameter. The low
bits are the 16 bits of this weight that the parameter cannot store.
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
#: The scales of the 8-bit state `name` have the name ``name + SCALE``.
SCALE = "_scale"


def dtype_of_states(p: Array, state_dtype: str | None, master_weights: bool) -> np.dtype[Any]:
    """Return the dtype of the states of a parameter."""
    if state_dtype == "bfloat16":
        return p.dtype if p.dtype.name == "bfloat16" else formats.bfloat16()
    if state_dtype is not None:
        return np.dtype(state_dtype)
    return np.dtype(np.float32) if master_weights and p.itemsize == 2 else p.dtype


def add(state: dict[str, Array], name: str, array: Array, initial: float, rule: Rule) -> None:
    """Add `array`, filled with `initial`, to the states of a parameter. If `array` is 8-bit, also add its scales.

    Before the call, `array` contains zeros. So if `initial` is 0, the array is not written before the first step of
    the optimizer. The operating system then places each page of memory near the core that writes it in this step.
    """
    state[name] = array
    if array.dtype == np.uint8:
        state[name + SCALE] = aligned_zeros(formats.block_count(array.size), np.float32)
    if initial:
        fill(state, name, np.full(array.size, initial, np.float64 if array.itemsize == 8 else np.float32), rule)


def fill(arrays: Arrays, name: str, numbers: Array, rule: Rule) -> None:
    """Write numbers into the state `name`, and its scales. `numbers` is a flat array in the state's memory order."""
    target = arrays[name]
    if target.dtype == np.uint8:
        numbers, arrays[name + SCALE][...] = formats.encode_u8(numbers, rule.is_positive(name))
    target[...] = shaped(numbers.astype(target.dtype), target)


def kept_bits(p: Array) -> dict[str, Array]:
    """Return the states that `master_weights` adds to a 16-bit parameter, with their values before the first step.

    A bfloat16 parameter gets ``"low"``, the low bits of its float32 weights, and ``"low_sum"``, checksums of the
    parameter's blocks. No weight has been rounded yet, so the low bits are zeros. A float16 parameter gets
    ``"master"``, a float32 copy.
    """
    if p.dtype == np.float16:
        return {"master": copies_of([p], [np.dtype(np.float32)])[0]}
    low = zeros_like([p], [np.dtype(np.int16)])[0]
    return {"low": low, "low_sum": aligned_zeros(formats.block_count(p.size), np.int32)}


def taken_over(saved: Arrays, own: Arrays, p: Array, rule: Rule) -> dict[str, Array]:
    """Return the saved states of the parameter p with the dtypes of `own`, the states that the optimizer has for p.

    Each scale and each checksum belongs to a block of elements that are neighbours in memory. So scales and checksums
    are computed again if the memory order of a saved state is not that of p.
    The option `master_weights` adds states for a 16-bit p. If `own` has these states, but `saved` does not, `kept_bits`
    creates them for the result. A state that cannot be converted, for example because its shape is not that of p, is
    returned unchanged. Later checks decide whether it is refused.
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
    """Return True if `a` has the shape of `p`, but another order of the axes in memory."""
    return isinstance(a, np.ndarray) and a.shape == p.shape and axes_of(a) != axes_of(p)


def _like(a: Array, p: Array) -> Array:
    """Return a copy in the memory order of `p`."""
    copy = zeros_like([p], [a.dtype])[0]
    copy[...] = a
    return copy
