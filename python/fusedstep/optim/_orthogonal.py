"""Muon's matrix products in NumPy. Muon's C++ kernel gets the orthogonalised momentum in place of the gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._base.rules import adjustment
from ._params import Array, Entry


def orthogonalised(x: Array, coefficients: Sequence[float], steps: int, eps: float) -> Array:
    """Return an approximation of U V^T for a matrix x with the singular value decomposition x = U S V^T.

    First, x is divided by the larger of its Frobenius norm and eps. Then `steps` Newton-Schulz iterations follow:
    x = a x + (b A + c A^2) x, where A = x x^T, and (a, b, c) are the coefficients. All numbers have the dtype of x.
    """
    a, b, c = (x.dtype.type(value) for value in coefficients)
    tall = x.shape[0] > x.shape[1]
    x = np.ascontiguousarray(x.T if tall else x)
    x = x / max(np.linalg.norm(x), x.dtype.type(eps))
    other = np.empty_like(x)
    for _ in range(steps):
        gram = x @ x.T
        polynomial = gram @ gram
        polynomial *= c
        gram *= b
        polynomial += gram
        np.matmul(polynomial, x, out=other)
        x *= a
        x += other
    return x.T if tall else x


def direction(g: Array, buffer: Array, group: Mapping[str, Any]) -> tuple[Array, Array]:
    """Return the next momentum buffer, and the direction of the step. g is the gradient.

    The direction is the momentum (with ``nesterov``, Nesterov's momentum), orthogonalised and multiplied by the factor
    that ``adjust_lr_fn`` chooses. The momentum is orthogonalised as a matrix: all axes after the first are merged. For
    example, the weights of a convolution become a matrix with one row per output channel.
    """
    wide = np.promote_types(buffer.dtype, np.float32)
    g = g.astype(wide, copy=False)
    moved = buffer.astype(wide) if group["momentum"] else np.zeros_like(g)  # 0 * inf would be nan
    moved += wide.type(1.0 - group["momentum"]) * (g - moved)
    update = g + wide.type(group["momentum"]) * (moved - g) if group["nesterov"] else moved
    matrix = update.reshape(len(update), -1)
    if matrix.size == 0:
        return moved, matrix.reshape(g.shape)
    found = orthogonalised(matrix, group["ns_coefficients"], group["ns_steps"], group["eps"])
    return moved, (found * wide.type(adjustment(group["adjust_lr_fn"], *matrix.shape))).reshape(g.shape)


def vectors_apart(label: str, entries: list[Entry], groups: list[dict[str, Any]], adamw: bool) -> list[Entry]:
    """Choose groups for the parameters so that AdamW updates all vectors. Return the parameters with their groups.

    Here a vector is a parameter with fewer than two axes. `adamw` is the value for groups without the option ``adamw``.
    If `adamw` is False, each group without the option is treated as follows. If the group has only vectors, the group
    itself gets ``adamw=True``. If the group has vectors and other parameters, the vectors are moved to a new group with
    ``adamw=True``, which is added to `groups`.

    Raises
    ------
    ValueError
        If a vector is in a group that sets ``adamw=False``.
    """
    found = list(entries)
    for k, group in enumerate(list(groups)):
        members = [i for i, entry in enumerate(entries) if entry.group == k]
        vectors = [i for i in members if getattr(entries[i].array, "ndim", 2) < 2]
        if group.get("adamw", adamw) or not vectors:
            continue
        if "adamw" in group:
            raise ValueError(f"{label}: {_named(entries, vectors[0])}")
        if len(vectors) == len(members):
            group["adamw"] = True
            continue
        groups.append({**group, "adamw": True})
        for i in vectors:
            found[i] = entries[i]._replace(group=len(groups) - 1)
    return found


def _named(entries: list[Entry], k: int) -> str:
    key, array, _ = entries[k]
    shown = f' ("{key}")' if isinstance(key, str) else ""
    return (
        f"params[{k}]{shown} must have two or more axes to be orthogonalised; got shape {array.shape} "
        "(set adamw=True for its group, or reshape a flattened matrix)"
    )
