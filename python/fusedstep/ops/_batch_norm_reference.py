"""Batch normalisation in NumPy: the formulas, and functions whose results have the same bits as the kernel's results.

Most functions take an array v of shape (C, n), which has one row with the n values of each of the C channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
#: The kernel divides a channel into blocks of 1,024 values, and adds the values of a block in 32 partial sums (lanes).
LANES, BLOCK = 32, 1024


def channels_first(x: Array, axis: int) -> Array:
    """Return x as an array of shape (C, n), where C is the size of `axis`. The other axes keep their order."""
    return np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)


def like(values: Array, x: Array, axis: int) -> Array:
    """Return values of shape (C, n) as a C-contiguous array with x's shape. It is the inverse of `channels_first`."""
    moved = np.moveaxis(x, axis, 0).shape
    return np.ascontiguousarray(np.moveaxis(values.reshape(moved), 0, axis))


def forward(v: Array, gamma: Any, beta: Any, mean: Array, var: Array, eps: float) -> Array:
    """Return the batch normalisation of v, without residual and ReLU."""
    y: Array = gamma[:, None] * (v - mean[:, None]) / np.sqrt(var[:, None] + eps) + beta[:, None]
    return y


def backward(
    v: Array, dz: Array, gamma: Any, mean: Array, var: Array, eps: float, frozen: bool
) -> tuple[Array, Array, Array]:
    """Return the gradients with respect to the arguments v, gamma and beta of `forward`.

    dz is the gradient with respect to `forward`'s output. If `frozen` is True, mean and var are constants (the
    running statistics). Otherwise they are the statistics of v.
    """
    invstd = 1 / np.sqrt(var + eps)
    xhat, n = (v - mean[:, None]) * invstd[:, None], v.shape[1]
    dbeta, dgamma = dz.sum(1), (dz * xhat).sum(1)
    centred = dz if frozen else dz - dbeta[:, None] / n - xhat * dgamma[:, None] / n
    return (gamma * invstd)[:, None] * centred, dgamma, dbeta


def add_lanes(lanes: Array) -> Array:
    """Return the sum of each row's 32 lanes. Add the second half of the lanes to the first until one lane is left."""
    for w in (16, 8, 4, 2, 1):
        lanes = lanes[:, :w] + lanes[:, w : 2 * w]
    return lanes[:, 0]


def lane_sums(v: Array) -> Array:
    """Return the sum of each row of v in v's dtype. Value j of a row is added to lane j mod 32."""
    lanes = np.zeros((v.shape[0], LANES), v.dtype)
    for start in range(0, v.shape[1], LANES):
        group = v[:, start : start + LANES]
        lanes[:, : group.shape[1]] += group
    return add_lanes(lanes)


def block_moments(v: Array) -> tuple[Array, Array]:
    """Return mean and sum of squared deviations of each row of v, in float64. A row has at most 1,024 values."""
    n = v.shape[1]
    shift = lane_sums(v[:, :LANES]) / v.dtype.type(min(n, LANES))
    d = v - shift[:, None]
    s, q = lane_sums(d).astype(np.float64), lane_sums(d * d).astype(np.float64)
    mean, m2 = shift + s / n, np.maximum(q - s * s / n, 0)
    if v.dtype == np.float32:
        for c in np.flatnonzero(q < BLOCK * np.finfo(np.float32).tiny):  # the squares may be denormal
            wide = v[c].astype(np.float64)
            constant = (wide == wide[0]).all()
            mean[c] = wide[0] if constant else np.add.accumulate(wide)[-1] / n
            m2[c] = 0 if constant else np.add.accumulate((wide - mean[c]) ** 2)[-1]
    return mean, m2


def moments(v: Array) -> tuple[Array, Array]:
    """Return the mean and the sum of squared deviations of each row of v. The blocks are merged from first to last."""
    mean, m2 = block_moments(v[:, :BLOCK])
    for start in range(BLOCK, v.shape[1], BLOCK):
        block = v[:, start : start + BLOCK]
        na, nb = float(start), float(block.shape[1])
        mean_b, m2_b = block_moments(block)
        delta, share = mean_b - mean, nb / (na + nb)
        mean, m2 = mean + delta * share, m2 + (m2_b + delta * delta * (na * share))
    return mean, m2


def block_sums(dz: Array, d: Array) -> tuple[Array, Array]:
    """Return the sums of dz and of dz * d for each row, in float64. dz and d have the same shape.

    Each row is divided into blocks. The sums of a block are computed in the dtype of dz, and then added in float64. If
    one of the two sums of a block overflows, both are computed again in float64.
    """
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
    """Return the result of `forward` with the bits of the kernel. invstd is 1 / sqrt(var + eps)."""
    centre, scale = mean.astype(v.dtype), gamma * invstd  # centre: the mean, rounded to the dtype of v
    offset = (beta - (mean - centre) * scale).astype(v.dtype)
    y: Array = (v - centre[:, None]) * scale.astype(v.dtype)[:, None] + offset[:, None]
    return y


def backward_bits(
    v: Array, dz: Array, gamma: Any, mean: Array, invstd: Array, frozen: bool
) -> tuple[Array, Array, Array]:
    """Return the result of `backward` with the bits of the kernel. invstd is 1 / sqrt(var + eps)."""
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
