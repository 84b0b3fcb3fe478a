"""Gradients of some rows of a parameter, such as the table of an embedding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _core
from .._base import checks
from .._base.rules import check_rows
from .._core import StepInfo
from ._params import Array


class Rows:
    """The gradient of some rows of a parameter. A step reads and writes only these rows of the parameter.

    Row i of a parameter p is p[i]. `SGD` without momentum, `Adagrad`, `RowwiseAdagrad` and `SparseAdam` accept `Rows`
    in place of an array. The parameter must be float32 or float64, and in C order. The options `weight_decay` and `l1`
    must be 0, and `ema_decay` and `state_dtype` must be None.

    Parameters
    ----------
    indices : array of integers
        The indices of n rows, in any order. If an index occurs more than once, the gradient of its row is the sum of
        all values with this index.
    values : array of shape (n, ...)
        ``values[j]`` is the gradient of row ``indices[j]``. `values` must have the dtype of the parameter and, apart
        from the first axis, the shape of the parameter.

    Raises
    ------
    TypeError, ValueError
        If `indices` is not a list or an array of integers with one axis, or if `values` is not an array with one row
        for each index.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> table = np.zeros((4, 2))
    >>> opt = fs.SGD([table], lr=1.0)
    >>> _ = opt.step([fs.Rows([3, 1, 3], np.ones((3, 2)))])
    >>> table[:, 0]
    array([ 0., -1.,  0., -2.])
    """

    def __init__(self, indices: Any, values: Array) -> None:
        self.indices, self.values = np.asarray(indices), values
        if self.indices.ndim != 1 or (self.indices.dtype.kind not in "iu" and self.indices.size):
            got = f"{self.indices.dtype} of shape {self.indices.shape}"
            raise TypeError(f"Rows: indices must be a list or an array of integers with one axis; got {got}")
        if not isinstance(values, np.ndarray) or values.ndim < 1 or len(values) != self.indices.size:
            got = f"shape {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
            raise ValueError(
                f"Rows: values must be an array of {self.indices.size} rows, one for each index; got {got}"
            )

    def __repr__(self) -> str:
        return f"Rows({self.indices.size} of {self.values.dtype} {self.values.shape[1:]})"


def prepared(opt: Any, k: int, rows: Rows) -> Any:
    """Check `rows`, the gradient of some rows of parameter k, and return it as a `RowGradient` of the C++ core."""
    what, p, values = opt._what(f"grads[{k}]"), opt._arrays[k], rows.values
    check_rows(what, opt.takes_rows, opt._groups[opt._group_of[k]], opt._ema is not None)
    if values.shape != (rows.indices.size, *p.shape[1:]) or values.dtype != p.dtype or p.ndim < 1:
        need = f"{p.dtype} with {rows.indices.size} rows of shape {p.shape[1:]}"
        need = need if p.ndim else "an array, because its parameter has no rows"
        raise ValueError(
            f"{what} must be {need}; got {values.dtype} with {len(values)} rows of shape {values.shape[1:]}"
        )
    if p.dtype not in (np.float32, np.float64) or not p.flags.c_contiguous:
        raise ValueError(
            f"{what} must be an array, because Rows need a parameter of float32 or float64 in C order; got Rows for a "
            f"parameter of {p.dtype} with shape {p.shape} and strides {p.strides}"
        )
    try:
        return _core.RowGradient(rows.indices.astype(np.int64, copy=False), np.ascontiguousarray(values), len(p))
    except IndexError as error:
        raise ValueError(f"{what} must have indices from 0 to {len(p) - 1}; got {error}") from None


def coalesced(opt: Any, k: int, rows: Rows) -> Rows:
    """Return the gradient `rows` of parameter k as new `Rows` with sorted indices.

    The values of equal indices are added, so that each index occurs once.
    """
    index, values = prepared(opt, k, rows).coalesced()
    return Rows(index, values.reshape(len(index), *opt._arrays[k].shape[1:]))


def step(opt: Any, grads: Any, rates: list[float] | None, options: tuple[Any, ...]) -> StepInfo | None:
    """Take a step if at least one of the gradients is a `Rows` object. Otherwise return None.

    The C++ core gets all gradients in one call. It refuses unsuitable gradients before it writes anything.
    """
    keys = opt._keys if isinstance(grads, dict) else range(len(opt._keys))
    found = {k: grads[key] for k, key in enumerate(keys) if _at(grads, key)}
    if not found:
        return None
    decay_scale, clip_norm, clip_value, grad_scale, grad_norm, skip_nonfinite, zero_grads = options
    rows = {}
    for k, gradient in found.items():
        rows[k] = prepared(opt, k, gradient)
        if zero_grads:
            check_can_be_zeroed(opt._what(f"grads[{k}]"), gradient)
    scale = opt._option(checks.positive, "grad_scale", grad_scale)
    if grad_norm is None and (clip_norm is not None or skip_nonfinite is True):
        others = [g for k, key in enumerate(keys) if k not in rows and (g := _of(grads, key)) is not None]
        grad_norm = norm_of(others, rows.values()) / scale
    rest = {n: g for n, g in grads.items() if not isinstance(g, Rows)} if isinstance(grads, dict) else list(grads)
    for k, gradient in rows.items():
        rest[keys[k]] = gradient
    flags = skip_nonfinite, zero_grads, opt._num_threads
    info: StepInfo = opt._plan.step(rest, rates, decay_scale, clip_norm, clip_value, scale, grad_norm, *flags)
    for given in found.values() if zero_grads else ():
        given.values[...] = 0
    return info


def norm_of(arrays: Any, rows: Any) -> float:
    """Return the Euclidean norm of all arrays and of all `RowGradient` objects in `rows` together."""
    total = sum(float(np.square(np.asarray(g), dtype=np.float64).sum()) for g in arrays)
    return math.sqrt(total + sum(gradient.squared_norm() for gradient in rows))


def _of(grads: Any, key: Any) -> Any:
    return grads.get(key) if isinstance(grads, dict) else grads[key] if key < len(grads) else None


def _at(grads: Any, key: Any) -> bool:
    return isinstance(_of(grads, key), Rows)


def check_can_be_zeroed(what: str, rows: Rows) -> None:
    flags = rows.values.flags
    if not flags.writeable or not flags.c_contiguous:
        array = f"array of shape {rows.values.shape}"
        got = f"a read-only {array}" if not flags.writeable else f"an {array} with strides {rows.values.strides}"
        raise ValueError(f"{what}.values must be writeable and in C order if zero_grads is True; got {got}")
