"""Adam in Numba, and the full step: Adam with clipped gradients, averaged parameters and zeroed gradients.

This module needs Numba.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

numba: Any = importlib.import_module("numba")
prange = numba.prange
jit = numba.njit(parallel=True, fastmath=True, error_model="numpy")

CHUNK = 16_384  # elements; the full step reads a chunk twice, and so a chunk must fit into the L1 and L2 caches


# The inner loops run over slices, so that their indices start at 0. If an index might be negative, Numba would test
# each index, and would make no SIMD code.
def _adam(p: Any, m: Any, v: Any, g: Any, chunks: Any, c: Any) -> None:
    clip, b1c, b2, b2c, step, debias, eps, decay = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
    for i in prange(len(chunks)):
        k, start, stop = chunks[i, 0], chunks[i, 1], chunks[i, 2]
        pk, mk, vk, gk = p[k][start:stop], m[k][start:stop], v[k][start:stop], g[k][start:stop]
        for j in range(pk.size):
            x = gk[j] * clip
            mk[j] += b1c * (x - mk[j])
            vk[j] = b2 * vk[j] + b2c * x * x
            pk[j] = decay * pk[j] - step * mk[j] / (np.sqrt(vk[j]) * debias + eps)


def _full(p: Any, m: Any, v: Any, g: Any, e: Any, chunks: Any, c: Any) -> None:
    clip, b1c, b2, b2c, step, debias, eps, decay, dc = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8]
    for i in prange(len(chunks)):
        k, start, stop = chunks[i, 0], chunks[i, 1], chunks[i, 2]
        pk, mk, vk, gk = p[k][start:stop], m[k][start:stop], v[k][start:stop], g[k][start:stop]
        ek = e[k][start:stop]
        for j in range(pk.size):
            x = gk[j] * clip
            mk[j] += b1c * (x - mk[j])
            vk[j] = b2 * vk[j] + b2c * x * x
            pk[j] = decay * pk[j] - step * mk[j] / (np.sqrt(vk[j]) * debias + eps)
        # This loop is separate, because LLVM makes no SIMD code for a loop with five arrays that may overlap.
        for j in range(pk.size):
            ek[j] += dc * (pk[j] - ek[j])
            gk[j] = 0


def _sum_of_squares(g: Any, chunks: Any, sums: Any) -> float:
    for i in prange(len(chunks)):
        gk, total = g[chunks[i, 0]][chunks[i, 1] : chunks[i, 2]], np.float32(0)
        for j in range(gk.size):
            total += gk[j] * gk[j]
        sums[i] = total
    return float(sums.sum())


adam, full, sum_of_squares = jit(_adam), jit(_full), jit(_sum_of_squares)


def chunk_table(arrays: list[np.ndarray]) -> np.ndarray:
    """Return rows of (number of the tensor, start, stop), one for each chunk."""
    rows = [(k, i, min(i + CHUNK, a.size)) for k, a in enumerate(arrays) for i in range(0, a.size, CHUNK)]
    return np.array(rows, np.int64)


def flat(arrays: list[np.ndarray]) -> Any:
    return numba.typed.List([a.reshape(-1) for a in arrays])


def adam_step(
    params: list[np.ndarray],
    grads: list[np.ndarray],
    averages: list[np.ndarray],
    lr: float,
    weight_decay: float,
    clip_norm: float,
    ema_decay: float,
) -> Callable[[], object]:
    """Return a function that does one step.

    If `averages` is not empty, the step also clips the gradients, updates the averages and zeroes the gradients.
    """
    b1, b2, eps, t, chunks = 0.9, 0.999, 1e-8, 0, chunk_table(params)
    p, g, e = flat(params), flat(grads), flat(averages) if averages else None
    m, v = flat([np.zeros_like(a) for a in params]), flat([np.zeros_like(a) for a in params])
    c = np.array([1, 1 - b1, b2, 1 - b2, 0, 0, eps, 1 - lr * weight_decay, 1 - ema_decay], np.float32)
    sums = np.zeros(len(chunks))

    def step() -> None:
        nonlocal t
        t += 1
        c[4], c[5] = lr / (1 - b1**t), 1 / math.sqrt(1 - b2**t)
        if e is None:
            adam(p, m, v, g, chunks, c)
            return
        c[0] = min(1.0, clip_norm / (math.sqrt(sum_of_squares(g, chunks, sums)) + 1e-6))
        full(p, m, v, g, e, chunks, c)

    return step
