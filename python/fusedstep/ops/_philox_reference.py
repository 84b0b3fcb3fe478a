"""Random numbers and dropout in NumPy, with the same bits as the kernels. The tests compare the kernels with them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
U32, U64 = np.uint32, np.uint64


def philox4x32(counter: Array, key: Array) -> Array:
    """Return the blocks of Philox4x32-10 as uint32 of shape (..., 4).

    A counter is four 32-bit words, so `counter` has the shape (..., 4). A key is two words, so `key` has (..., 2).
    """
    c, k = np.array(counter, U64), np.array(key, U64)
    low, wide = U64(0xFFFFFFFF), U64(32)
    for _ in range(10):
        p0, p1 = c[..., 0] * U64(0xD2511F53), c[..., 2] * U64(0xCD9E8D57)
        c = np.stack(
            [p1 >> wide ^ c[..., 1] ^ k[..., 0], p1 & low, p0 >> wide ^ c[..., 3] ^ k[..., 1], p0 & low], axis=-1
        )
        k = k + np.array([0x9E3779B9, 0xBB67AE85], U64) & low
    return c.astype(U32)


def words(seed: int, stream: int, first: int, n: int) -> Array:
    """Return n words of a stream, beginning with word `first`. Word i of the stream is word i mod 4 of block i // 4."""
    blocks = np.arange(first // 4, (first + n + 3) // 4, dtype=U64)
    halves = [blocks, blocks >> U64(32), np.full_like(blocks, stream), np.full_like(blocks, stream >> 32)]
    counter = np.stack(halves, axis=-1) & U64(0xFFFFFFFF)
    key = np.array([seed & 0xFFFFFFFF, seed >> 32], U64)
    return philox4x32(counter, key).reshape(-1)[first % 4 :][:n]


def mask(seed: int, stream: int, first: int, n: int, p: float) -> Array:
    """Return the dropout mask of n elements, beginning with element `first`. True means that the element is kept.

    p is the probability of dropping an element. Element i is kept if its 16-bit random number is at least
    ``round(65536 * p)``. The random number is a half of the 32-bit word i // 2 of the stream: the low half if i is
    even, the high half if i is odd.
    """
    w = words(seed, stream, first // 2, n // 2 + 1)
    halves = np.stack([w & U32(0xFFFF), w >> U32(16)], axis=-1).reshape(-1)
    return halves[first % 2 :][:n] >= round(65536 * p)


def dropout(x: Array, kept: Array, p: float) -> Array:
    """Return the result of inverted dropout with the mask `kept`. p is the probability of dropping an element."""
    left = 65536 - round(65536 * p)
    scale = x.dtype.type(65536 / left if left else 1)
    return np.where(kept, x * scale, x.dtype.type(0))


def normals(seed: int, stream: int, first: int, n: int, dtype: Any) -> Array:
    """Return the standard normal random numbers first ... first + n - 1 of a stream."""
    w = words(seed, stream, first // 2 * 2, (first + n + 1) // 2 * 2 - first // 2 * 2)
    t = np.dtype(dtype).type
    u = (t(65536) * (w[0::2] >> U32(16)).astype(t) + (w[0::2] & U32(0xFFFF)).astype(t) + t(0.5)) * t(2.0**-32)
    radius = np.sqrt(t(-2) * logarithm(u))
    cosine, sine = on_circle(w[1::2], t)
    return np.stack([radius * cosine, radius * sine], axis=-1).reshape(-1)[first % 2 :][:n]


def logarithm(u: Array) -> Array:
    """Return ln u for 0 < u <= 1.

    Let u = m 2^-e with an integer e and with m in [sqrt(1/2), sqrt(2)). Then ln u = ln m - e ln 2, where
    ln m = 2 artanh((m - 1) / (m + 1)) is computed as a series.
    """
    t, terms, root_half = u.dtype.type, {4: 5, 8: 11}[u.itemsize], np.sqrt(u.dtype.type(0.5))
    m, exponent = np.frexp(u)  # here m is in [1/2, 1)
    small = m < root_half
    m, exponent = np.where(small, 2 * m, m), exponent - small
    s = (m - t(1)) / (m + t(1))
    series = np.full_like(s, 1.0 / (2 * terms + 1))
    for k in range(terms - 1, -1, -1):
        series = series * (s * s) + t(1.0 / (2 * k + 1))
    return t(2) * s * series - (-exponent).astype(t) * t(0.693147180559945309417)


def on_circle(w: Array, t: Any) -> tuple[Array, Array]:
    """Return cosine and sine of the angles 2 pi w / 2^32 for uint32 numbers w. t is the type of the results."""
    terms = {4: 5, 8: 9}[np.dtype(t).itemsize]
    quadrant = (w + U32(1 << 29)) >> U32(30)
    x = (w - (quadrant << U32(30))).view(np.int32).astype(t) * t(6.283185307179586476925 / 4294967296.0)
    x2 = x * x
    sine = cosine = np.ones_like(x)
    for k in range(terms, 0, -1):
        sine = t(1) - x2 * t(1.0 / (2 * k * (2 * k + 1))) * sine
        cosine = t(1) - x2 * t(1.0 / ((2 * k - 1) * (2 * k))) * cosine
    sine = sine * x
    return (
        np.choose(quadrant, [cosine, -sine, -cosine, sine]),
        np.choose(quadrant, [sine, cosine, -sine, -cosine]),
    )
