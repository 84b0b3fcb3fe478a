"""Batch normalisation in NumPy: the formulas in float64, and functions with the same bits as the kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
LANES, BLOCK = 32, 1024


def channels_first(x: Array, axis: int) -> Array:
    """Return the values as (C, n). The n values of a channel are in C order of the other axes."""
    return np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)


def like(values: Array, x: Array, axis: int) -> Array:
    """Return (C, n) values in the layout of x. This function is the inverse of `channels_first`."""
    moved = np.moveaxis(x, axis, 0).shape
    return np.ascontiguousarray(np.moveaxis(values.reshape(moved), 0, axis))


def forward(v: Array, gamma: Any, beta: Any, mean: Array, var: Array, eps: float) -> Array:
    """Return the normalised values of (C, n), without residual and ReLU."""
    y: Array = gamma[:, None] * (v - mean[:, None]) / np.sqrt(var[:, None] + eps) + beta[:, None]
    return y


def backward(
    v: Array, dz: Array, gamma: Any, mean: Array, var: Array, eps: float, frozen: bool
) -> tuple[Array, Array, Array]:
    """Return dx, dgamma, dbeta of (C, n) values. If `frozen`, mean and var are constants (the running statistics)."""
    invstd = 1 / np.sqrt(var + eps)
    xhat, n = (v - mean[:, None]) * invstd[:, None], v.shape[1]
    dbeta, dgamma = dz.sum(1), (dz * xhat).sum(1)
    centred = dz if frozen else dz - dbeta[:, None] / n - xhat * dgamma[:, None] / n
    return (gamma * invstd)[:, None] * centred, dgamma, dbeta


def add_lanes(lanes: Array) -> Array:
    """Add lane k + w to lane k for w = 16, 8, 4, 2, 1."""
    for w in (16, 8, 4, 2, 1):
        lanes = lanes[:, :w] + lanes[:, w : 2 * w]
    return lanes[:, 0]


def lane_sums(v: Array) -> Array:
    """Sum (C, n) values in their own dtype. Lane j mod 32 adds value j."""
    lanes = np.zeros((v.shape[0], LANES), v.dtype)
    for start in range(0, v.shape[1], LANES):
        group = v[:, start : start + LANES]
        lanes[:, : group.shape[1]] += group
    return add_lanes(lanes)


def block_moments(v: Array) -> tuple[Array, Array]:
    """Return mean and sum of squared deviations, in float64, of a block of (C, n) values with n <= 1024."""
    n = v.shape[1]
    shift = lane_sums(v[:, :LANES]) / v.dtype.type(min(n, LANES))
    d = v - shift[:, None]
    s, q = lane_sums(d).astype(np.float64), lane_sums(d * d).astype(np.float64)
    mean, m2 = shift + s / n, np.maximum(q - s * s / n, 0)
    if v.dtype == np.float32:
        for c in np.flatnonzero(q < BLOCK * np.finfo(np.float32).tiny):  # the squares are denormal numbers
            wide = v[c].astype(np.float64)
            constant = (wide == wide[0]).all()
            mean[c] = wide[0] if constant else np.add.accumulate(wide)[-1] / n
            m2[c] = 0 if constant else np.add.accumulate((wide - mean[c]) ** 2)[-1]
    return mean, m2


def moments(v: Array) -> tuple[Array, Array]:
    """Return mean and sum of squared deviations of (C, n) values. The blocks are merged in order."""
    mean, m2 = block_moments(v[:, :BLOCK])
    for start in range(BLOCK, v.shape[1], BLOCK):
        block = v[:, start : start + BLOCK]
        na, nb = float(start), float(block.shape[1])
        mean_b, m2_b = block_moments(block)
        delta, share = mean_b - mean, nb / (na + nb)
        mean, m2 = mean + delta * share, m2 + (m2_b + delta * delta * (na * share))
    return mean, m2


def block_sums(dz: Array, d: Array) -> tuple[Array, Array]:
    """Sum dz and dz * d of (C, n) values block by block. If the sum of a block overflows, sum it in float64."""
    total, dot = np.zeros(dz.shape[0]), np.zeros(dz.shape[0])
    for start in range(0, dz.shape[1], BLOCK):
        z, e = dz[:, start : start + BLOCK], d[:, start : start + BLOCK]
        with np.errstate(over="ignore", invalid="ignore"):
            sums, dots = lane_sums(z).astype(np.float64), lane_sums(z * e).astype(np.float64)
        far = ~(np.isfinite(sums) & np.isfinite(dots))
        z, e = z[far].astype(np.float64), e[far].astype(np.float64)
        sums[far], dots[far] = np.add.accumulate(z, 1)[:, -1], np.add.accumulate(z * e, 1)[:, -1]
        total, dot = total + sums, dot + dots
    return total, dot


def forward_bits(v: Array, gamma: Any, beta: Any, mean: Array, invstd: Array) -> Array:
    """Return the y of the kernel, without residual and ReLU. `centre` is the mean, rounded to the dtype of v."""
    centre, scale = mean.astype(v.dtype), gamma * invstd
    offset = (beta - (mean - centre) * scale).astype(v.dtype)
    y: Array = (v - centre[:, None]) * scale.astype(v.dtype)[:, None] + offset[:, None]
    return y


def backward_bits(
    v: Array, dz: Array, gamma: Any, mean: Array, invstd: Array, frozen: bool
) -> tuple[Array, Array, Array]:
    """Return dx, dgamma, dbeta as the kernel computes them."""
    n, dtype = v.shape[1], v.dtype
    centre, scale = mean.astype(dtype), (gamma * invstd).astype(dtype)[:, None]
    d = v - centre[:, None]
    (total, dot), low = block_sums(dz, d), mean - centre
    dgamma = (dot - low * total) * invstd
    slope = dgamma * invstd / n
    if frozen:
        dx = dz * scale
    else:
        dx = ((dz - (total / n - low * slope).astype(dtype)[:, None]) - d * slope.astype(dtype)[:, None]) * scale
    return dx, dgamma.astype(dtype), total.astype(dtype)
