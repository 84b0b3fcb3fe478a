"""Compare codes of 8 bits by the errors of Adam's update, and by the loss of the digits network.

A code is a way to store numbers in 8 bits. Each block of 256 elements has a scale: the largest absolute value in the
block. Each code has a table of values from 0 to 1. A number is stored as the index of a value in the table, and the
value times the scale is the absolute value of the number. If the numbers may be negative, one bit is the sign. Only our
code (csrc/formats/u8.h) has another scale, a power of two, and values above 1.

All codes round stochastically to one of the two neighbours in the table, so that the mean of many roundings is the
exact number. There is one exception: Adam's second moment v is never negative, and a positive v never becomes 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fusedstep._base import formats
from fusedstep._bench.common import Array

from . import digits
from .variants import REFERENCE

# (a flat array, True if its numbers are never negative, a random generator) -> the array, encoded and decoded
Code = Callable[[Array, bool, np.random.Generator], Array]


def ours(x: Array, positive: bool, rng: np.random.Generator) -> Array:
    """Encode and decode a flat array with the code of csrc/formats/u8.h."""
    noise = rng.integers(1 << 16, size=x.size, dtype=np.uint32)
    return formats.decode_u8(*formats.encode_u8(x, positive, noise), positive)


def by_table(sizes: Array, unsigned: Array | None = None) -> Code:
    """Return the code with the table `sizes`, whose values are from 0 to 1.

    If `unsigned` is given, it is the table for arrays whose numbers are never negative, such as v.
    """

    def code(x: Array, positive: bool, rng: np.random.Generator) -> Array:
        table = sizes if unsigned is None or not positive else unsigned
        blocks = np.zeros((formats.block_count(x.size), formats.BLOCK), np.float32)
        blocks.reshape(-1)[: x.size] = x
        size = np.abs(blocks)
        scale = np.maximum(size.max(axis=1, keepdims=True), np.float32(1e-30))
        share = np.minimum(size / scale, 1)
        upper = np.clip(np.searchsorted(table, share), 1, len(table) - 1)
        low, high = table[upper - 1], table[upper]
        picked = np.where(rng.random(share.shape, np.float32) * (high - low) < share - low, high, low)
        picked = np.where((picked == 0) & (share > 0), table[1], picked) if positive else picked
        result: Array = np.copysign(picked * scale, blocks).reshape(-1)[: x.size].astype(np.float32)
        return result

    return code


def minifloat(exponents: int) -> Array:
    """Return the absolute values of a floating-point format, divided by the largest value.

    The format has `exponents` different exponents and 3 bits of mantissa. The values with the lowest exponent are
    denormals: 0 to 7 times the least positive value.
    """
    sizes = [2.0 ** max(e, 1) * ((e > 0) + f / 8) for e in range(exponents) for f in range(8)]
    return np.array(sizes, np.float32) / np.float32(sizes[-1])


def dynamic_map(decades: int, bits: int) -> Array:
    """Return the absolute values of a dynamic map (Dettmers et al. 2022).

    The values are 0, 1, and the values in a number of decades. The lowest decade has 2^bits values, and each other
    decade has twice as many values as the decade below it. Positive and negative numbers have the same absolute values.
    With 7 decades and bits = 0, these are 257 numbers, one more than 8 bits can store.
    """
    sizes = [0.0, 1.0]
    for k in range(decades):
        edges = np.linspace(0.1, 1, 2 ** (k + bits) + 1)
        sizes += list(10.0 ** (k - decades + 1) * (edges[1:] + edges[:-1]) / 2)
    return np.array(sorted(sizes), np.float32)


CODES: dict[str, Code] = {
    "fusedstep": ours,
    "E4M3, the sign unused in v": by_table(minifloat(16)),
    "E4M3; E5M3 without a sign for v": by_table(minifloat(16), minifloat(32)),
    "linear": by_table(np.linspace(0, 1, 128, dtype=np.float32), np.linspace(0, 1, 256, dtype=np.float32)),
    "square root": by_table(
        np.linspace(0, 1, 128, dtype=np.float32) ** 2, np.linspace(0, 1, 256, dtype=np.float32) ** 2
    ),
    "dynamic map": by_table(dynamic_map(7, 0), dynamic_map(7, 1)),
}


def errors(code: Code, moments: list[tuple[Array, Array]], repeats: int = 4, eps: float = 1e-8) -> dict[str, float]:
    """Return the errors of Adam's update m / (sqrt(v) + eps) that occur if m and v are stored in a code.

    Parameters
    ----------
    code : function
    moments : list of (ndarray, ndarray)
        First and second moments of each tensor, as flat arrays, from a training in float32.
    repeats : int
        How many times each moment is rounded.

    Returns
    -------
    dict
        Let e be the exact update of an element, and u its update with the stored m and v. The sums are over all
        elements. ``update`` is sum((u - e)^2) / sum(e^2). ``wrong`` is the fraction of the elements with u / e below
        0.5 or above 2. ``longer`` is sum(u * sign(e)) / sum(abs(e)) - 1. It is not 0, because stochastic rounding
        preserves the mean of v, but changes the mean of 1 / sqrt(v).
    """
    rng, total = np.random.default_rng(0), np.zeros(6)
    for m, v in moments * repeats:
        m2, v2 = code(m, False, rng), code(v, True, rng)
        exact, got = m / (np.sqrt(v) + eps), m2 / (np.sqrt(v2) + eps)
        ratio = got[exact != 0] / exact[exact != 0]
        total[:2] += np.sum((got - exact) ** 2.0), np.sum(exact**2.0)
        total[2:4] += np.sum(got * np.sign(exact)), np.sum(abs(exact))
        total[4:] += np.sum((ratio < 0.5) | (ratio > 2)), ratio.size
    update, square, step, size, wrong, count = total
    return {"update": float(update / square), "wrong": float(wrong / count), "longer": float(step / size - 1)}


class StoredBy:
    """The weights of a network and its optimizer. After every step, the float32 states are rounded to a code."""

    def __init__(self, model: Any, code: Code, s: digits.Setting, seed: int) -> None:
        self.weights, self.code, self.rng = digits.Weights(model, REFERENCE, s, seed), code, np.random.default_rng(seed)

    def step(self) -> None:
        """Step, then round the states."""
        self.weights.step()
        for state in self.weights.optimizer.state.values():
            for name, positive in (("exp_avg", False), ("exp_avg_sq", True)):
                flat = state[name].reshape(-1)
                flat[:] = self.code(flat, positive, self.rng)


def learn(code: Code, seed: int, s: digits.Setting) -> dict[str, float]:
    """Train the digits network with states that are stored in a code. Return the losses that `digits.train` returns."""
    model = digits.network(s, seed)
    return digits.train(model, StoredBy(model, code, s, seed), seed, s)
