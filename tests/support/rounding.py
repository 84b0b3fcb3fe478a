"""The conversions between number formats in csrc/formats, computed with NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedstep._base import formats

from .bits import Array

BLOCK = 256  # number of elements whose random bits come from the same mixed key
_MASK = 2**64 - 1


def scramble(x: int) -> int:
    """Return the finalizer of splitmix64, applied to x."""
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & _MASK
    return x ^ x >> 31


def key_of(seed: int, number: int, step: int, stream: int) -> int:
    """Return the key from which the random bits for rounding one array of a parameter at a step are computed.

    `number` says which parameter of the optimizer it is. `stream` says which array is rounded: 0 is the parameter, and
    k is its k-th state, counted from 1.
    """
    tensor = scramble((scramble(seed) + number) & _MASK)
    return scramble((tensor + step * 5 + stream) & _MASK)


def noise(key: int, n: int) -> Array:
    """Return 16 random bits, computed from the key, for each of the first n elements of a tensor."""
    out = np.empty(formats.block_count(n) * BLOCK, np.uint32)
    lane = np.arange(BLOCK // 2, dtype=np.uint32)
    for block in range(formats.block_count(n)):
        mixed = scramble((key + block * 0x9E3779B97F4A7C15) & _MASK)
        x = lane + np.uint32(mixed & 0xFFFFFFFF)
        x = (x ^ x >> np.uint32(16)) * np.uint32(0x7FEB352D)
        x = ((x ^ x >> np.uint32(15)) + np.uint32(mixed >> 32)) * np.uint32(0x846CA68B)
        x = x ^ x >> np.uint32(16)
        out[block * BLOCK :][: BLOCK // 2] = x & np.uint32(0xFFFF)
        out[block * BLOCK + BLOCK // 2 :][: BLOCK // 2] = x >> np.uint32(16)
    return out[:n]


def to_bfloat16(x: Array, bits: Array | None) -> Array:
    """Return float32 numbers rounded to bfloat16. Each bfloat16 number is a uint16 that has its bits.

    `bits` are random bits for stochastic rounding. If it is None, numbers are rounded to nearest, with ties to even.
    """
    u = x.view(np.uint32)
    up = np.uint32(0x7FFF) + (u >> np.uint32(16) & np.uint32(1)) if bits is None else bits
    with np.errstate(over="ignore"):
        return np.where(np.isnan(x), np.uint32(0x7FC0), (u + up) >> np.uint32(16)).astype(np.uint16)


def to_float16(x: Array, bits: Array | None) -> Array:
    """Return float32 numbers rounded to float16.

    `bits` are random bits for stochastic rounding. If it is None, numbers are rounded to nearest, with ties to even.
    """
    with np.errstate(over="ignore"):
        if bits is None:
            return x.astype(np.float16)
        a = x.view(np.uint32) & np.uint32(0x7FFFFFFF)
        normal = (a - np.uint32((127 - 15) << 23) + (bits >> np.uint32(3))) >> np.uint32(13)
        units = a.view(np.float32) * np.float32(2**24) + bits.astype(np.float32) * np.float32(2**-16)
        is_small = a < 0x38800000
        small = np.where(is_small, units, 0).astype(np.uint32)
        size = np.where(a >= 0x47800000, np.where(np.isnan(x), 0x7E00, 0x7C00), np.where(is_small, small, normal))
        return (size | x.view(np.uint32) >> np.uint32(16) & np.uint32(0x8000)).astype(np.uint16).view(np.float16)


def from_bfloat16(items: Array) -> Array:
    """Return the float32 values of bfloat16 numbers. Each bfloat16 number is a uint16 that has its bits."""
    return (items.astype(np.uint32) << np.uint32(16)).view(np.float32)


def split_low(x: Array) -> tuple[Array, Array]:
    """Split float32 numbers into two arrays of 16-bit integers, and return both.

    The first array has the bits of the numbers rounded to bfloat16, to nearest, with ties away from zero. The second
    array has the low 16 bits of the float32 numbers, as signed integers.
    """
    u = np.where(np.isnan(x), np.uint32(0x7FC00000), x.view(np.uint32))
    with np.errstate(over="ignore"):
        return ((u + np.uint32(0x8000)) >> np.uint32(16)).astype(np.uint16), u.astype(np.uint16).view(np.int16)


def join_low(high: Array, low: Array) -> Array:
    """Return the float32 numbers that `split_low` has split into these two arrays."""
    with np.errstate(over="ignore"):
        return ((high.astype(np.uint32) << np.uint32(16)) + low.astype(np.int32).view(np.uint32)).view(np.float32)


def same_items(a: Any, b: Any) -> bool:
    """Return True if two arrays of 16-bit numbers are equal. Any two nans count as equal."""
    return bool(np.array_equal(np.asarray(a, np.float32), np.asarray(b, np.float32), equal_nan=True))
