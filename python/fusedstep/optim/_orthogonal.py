"""Muon's products in NumPy: the orthogonalised momentum of a matrix, which replaces its gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .._base import checks
from .._base.rules import adjustment
from .._core import StepInfo
from ._params import Array, Entry


def orthogonalised(x: Array, coefficients: Sequence[float], steps: int, eps: float) -> Array:
    """Return about U V^T of a matrix x = U S V^T, by Newton-Schulz iterations in its own type."""
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
    """Return the next momentum buffer, and the orthogonalised momentum times `adjustment` in the same shape.

    All axes after the first are merged: the kernel of a convolution is a matrix with a row per output channel.
    """
    wide = np.promote_types(buffer.dtype, np.float32)
    g = g.astype(wide, copy=False)
    moved = buffer.astype(wide)
    moved += wide.type(1.0 - group["momentum"]) * (g - moved)
    update = g + wide.type(group["momentum"]) * (moved - g) if group["nesterov"] else moved
    matrix = update.reshape(len(update), -1)
    if matrix.size == 0:
        return moved, matrix.reshape(g.shape)
    found = orthogonalised(matrix, group["ns_coefficients"], group["ns_steps"], group["eps"])
    return moved, (found * wide.type(adjustment(group["adjust_lr_fn"], *matrix.shape))).reshape(g.shape)


def vectors_apart(label: str, entries: list[Entry], groups: list[dict[str, Any]], adamw: bool) -> list[Entry]:
    """Return the parameters with their groups. Vectors of a group without ``adamw`` are moved to a new group.

    Raises
    ------
    ValueError
        If a vector is in a group with ``adamw=False``.
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


def step(opt: Any, fused: Callable[..., StepInfo], grads: Any, options: dict[str, Any]) -> StepInfo:
    """Take a step in which the directions of matrices replace their gradients.

    The fused step multiplies gradients by `factor`. So the directions are divided by it first.
    """
    given = grads if type(grads) is list or type(grads) is dict else opt._in_order(grads)
    raw = _that_fit(opt, given)
    bound = options.pop("clip_value", None)
    bound = None if bound is None else opt._option(checks.non_negative, "clip_value", bound)
    if options.get("zero_grads"):
        _check_writeable(opt, raw)
    factor = _factor(opt, raw, options)
    moved: dict[int, Array] = {}
    for k, g in raw.items():
        group = opt._groups[opt._group_of[k]]
        if group["adamw"] and bound is None:
            continue
        wide = g.dtype.type if g.itemsize > 2 else np.float32
        scaled = g * wide(factor)
        scaled = scaled if bound is None else np.clip(scaled, -bound, bound)
        if not group["adamw"]:
            with np.errstate(all="ignore"):
                moved[k], scaled = direction(scaled, opt._state[opt._keys[k]]["momentum_buffer"], group)
        given = given.copy() if given is grads else given
        given[opt._keys[k] if isinstance(given, dict) else k] = scaled / wide(factor) if factor else scaled * 0
    info = fused(given, **options)
    for k, buffer in moved.items() if not info.skipped else ():
        opt._state[opt._keys[k]]["momentum_buffer"][...] = buffer
    for g in raw.values() if options.get("zero_grads") else ():
        g[...] = 0
    return info


def _that_fit(opt: Any, given: Any) -> dict[int, Array]:
    """Return gradients by position of the parameter, without those that the fused step will refuse."""
    found = {}
    for k, (key, p) in enumerate(zip(opt._keys, opt._arrays, strict=True)):
        g = given.get(key) if isinstance(given, dict) else given[k] if k < len(given) else None
        if g is not None and not isinstance(g, np.ndarray) and hasattr(g, "__dlpack__"):
            g = np.from_dlpack(g)
        if isinstance(g, np.ndarray) and g.shape == p.shape and (g.dtype == p.dtype or max(g.itemsize, p.itemsize) < 8):
            found[k] = g
    return found


def _check_writeable(opt: Any, raw: Mapping[int, Array]) -> None:
    for k, g in raw.items():
        if not g.flags.writeable:
            raise ValueError(f"{opt._what(f'grads[{k}]')} must be writeable; got a read-only {g.dtype} {g.shape}")


def _factor(opt: Any, raw: Mapping[int, Array], options: dict[str, Any]) -> float:
    """Return the factor by which the fused step multiplies gradients, and add their norm to `options`."""
    scale = opt._option(checks.positive, "grad_scale", options.get("grad_scale", 1.0))
    clip = options.get("clip_norm")
    if options.get("grad_norm") is None and (clip is not None or options.get("skip_nonfinite")):
        squares = (float(np.square(g, dtype=np.float64).sum()) for g in raw.values())
        options["grad_norm"] = math.sqrt(sum(squares)) / scale
    if clip is None:
        return float(1.0 / scale)
    clip = opt._option(checks.non_negative, "clip_norm", clip)
    coefficient = clip / (opt._option(checks.norm, "grad_norm", options["grad_norm"]) + 1e-6)
    return float((1.0 if coefficient > 1 else coefficient) / scale)
