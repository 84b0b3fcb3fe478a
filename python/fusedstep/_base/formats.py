"""The 8-bit and 16-bit formats of optimizer states and parameters, in NumPy.

If numbers are rounded to nearest, the results have the same bits as the results of the C++ code in csrc/formats.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays import Array
from .optional import MissingPackage

#: Number of elements of a block. The elements of a block are neighbours in memory, and have one common scale.
BLOCK = 256
#: The values of `state_dtype`.
STATE_DTYPES = ("float32", "bfloat16", "uint8")

_MANTISSA = 20  # low bits of a float32 that an 8-bit code drops
# Added to the bits of a block's largest number. Rounding up and the 1 that `_codes` adds can raise its exponent.
_ROOM = np.uint32((1 << _MANTISSA) - 1 + (1 << 10))
_LOWEST = 32  # exponent bits of the smallest scale; with smaller scales, numbers would become denormal
# Bits of float32: of 1, of the absolute value (all but the sign) and of infinity.
_ONE, _SIZE, _INFINITE = np.uint32(0x3F800000), np.uint32(0x7FFFFFFF), np.uint32(0x7F800000)


def block_count(size: int) -> int:
    """Return the number of blocks of a tensor with `size` elements."""
    return -(-size // BLOCK)


def decode_u8(codes: Array, scales: Array, positive: bool) -> Array:
    """Return the float32 numbers of a flat array of 8-bit codes. Each block of codes has one scale.

    The absolute value of a number is ``scale * (2^(c // 8) * (1 + (c % 8) / 8) - 1)``. If `positive` is True, c in this
    formula is the whole code, and no number is negative. Otherwise c is the lower 7 bits of the code, and the highest
    bit is the sign of the number.
    """
    c = codes.astype(np.uint32)
    size = (c if positive else c & np.uint32(0x7F)) << np.uint32(_MANTISSA)
    scale = np.repeat(scales, BLOCK)[: codes.size]
    with np.errstate(invalid="ignore", over="ignore"):
        numbers: Array = ((_ONE + size).view(np.float32) - np.float32(1)) * scale
    return numbers if positive else np.where(c & np.uint32(0x80), -numbers, numbers)


def encode_u8(numbers: Array, positive: bool, noise: Array | None = None) -> tuple[Array, Array]:
    """Return the 8-bit codes of a flat array of float32 numbers, and the scale of each block; see `decode_u8`.

    If `noise` is None, the numbers are rounded to nearest. Otherwise `noise` has 16 random bits for each number, and
    the rounding is stochastic.
    """
    blocks = block_count(numbers.size)
    x = np.zeros((blocks, BLOCK), np.float32)
    x.reshape(-1)[: numbers.size] = numbers
    r = None if noise is None else np.zeros((blocks, BLOCK), np.uint32)
    if r is not None and noise is not None:
        r.reshape(-1)[: numbers.size] = noise
    sizes = x.view(np.uint32) & _SIZE
    largest = sizes.max(axis=1, initial=0)
    scales = _scales(largest, 32 if positive else 16)
    codes = _codes(x, sizes, np.float32(1) / scales[:, None], positive, r)
    codes = np.where((largest >= _INFINITE)[:, None], np.uint8(1), codes)
    return codes.reshape(-1)[: numbers.size], scales


def _scales(largest: Array, exponents: int) -> Array:
    exponent = (largest + _ROOM) >> np.uint32(23)
    low = exponent < _LOWEST + exponents - 1
    bits = np.where(low, np.uint32(_LOWEST), exponent - np.uint32(exponents - 1)) << np.uint32(23)
    return np.where(largest >= _INFINITE, np.uint32(0x7FC00000), bits).astype(np.uint32).view(np.float32)


def _codes(x: Array, sizes: Array, per_scale: Array, positive: bool, noise: Array | None) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):
        above = (sizes.view(np.float32) * per_scale + np.float32(1)).view(np.uint32) - _ONE
    if noise is None:
        up = np.uint32((1 << (_MANTISSA - 1)) - 1) + ((above >> np.uint32(_MANTISSA)) & np.uint32(1))
    else:
        up = noise << np.uint32(_MANTISSA - 16)
    code = (above + up) >> np.uint32(_MANTISSA)
    if positive:
        return np.where((code == 0) & (sizes != 0), np.uint32(1), code).astype(np.uint8)
    return (code | (x.view(np.uint32) >> np.uint32(24)) & np.uint32(0x80)).astype(np.uint8)


def halves_of(numbers: Array) -> tuple[Array, Array]:
    """Return the bits of float32 numbers as two arrays of 16-bit integers: `items` (unsigned) and `low` (signed).

    The bits of a float32 number, read as an integer, are exactly ``items * 2**16 + low``. `items` are the bits of the
    number rounded to bfloat16 (to nearest, ties away from zero). Before the split, every nan gets the bits of
    ``np.nan``.
    """
    bits = np.where(np.isnan(numbers), np.float32(np.nan), numbers).view(np.uint32)
    return ((bits + np.uint32(0x8000)) >> np.uint32(16)).astype(np.uint16), bits.astype(np.uint16).view(np.int16)


def low_sums(items: Array) -> Array:
    """Return a checksum of each block of a bfloat16 parameter.

    Each step of an optimizer compares them with the checksums of the step before, to find out whether other code has
    changed the parameter.
    `items` are the 16-bit numbers of the parameter as a flat array in memory order.
    """
    products = items.view(np.int16).astype(np.int32) * np.resize(_weights(), items.size)
    starts = np.arange(0, items.size, BLOCK)
    return np.add.reduceat(products, starts, dtype=np.int32) if items.size else np.zeros(0, np.int32)


def _weights() -> Array:
    x, weights = 1, []
    for _ in range(BLOCK):
        x = (x * 1664525 + 1013904223) % 2**32
        weights.append((x >> 16 | 1) & 0xFFFF)
    return np.array(weights, np.uint16).view(np.int16).astype(np.int32)


def bfloat16_of(numbers: Array) -> Any:
    """Return float32 numbers, converted to the dtype bfloat16 of the package ml_dtypes.

    Raises
    ------
    ImportError
        If ml_dtypes is not installed.
    """
    return numbers.astype(bfloat16())


def bfloat16() -> Any:
    """Return the NumPy dtype bfloat16, which the package ml_dtypes defines.

    Raises
    ------
    ImportError
        If ml_dtypes is not installed.
    """
    try:
        import ml_dtypes
    except ImportError:
        raise MissingPackage(
            "state_dtype=\"bfloat16\" needs the package ml_dtypes: pip install 'fusedstep[narrow]'"
        ) from None
    return np.dtype(ml_dtypes.bfloat16)
