"""Dropout without a stored mask. Whether element i is dropped depends only on (seed, stream, i)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .._base.random import key_of, offset_of, shape_of, threshold_and_scale, threshold_of
from .philox import Key

Array = NDArray[Any]


def dropout(
    x: Array,
    p: float,
    key: Key,
    mode: str = "inverted",
    offset: int = 0,
    out: Array | None = None,
    *,
    training: bool = True,
    shape: tuple[int, ...] | None = None,
) -> Array:
    r"""Set each element to zero with probability p.

    ::

        T = round(65536 p)                              h_i = 16-bit half (i mod 8) of Philox block i / 8
        y_i = 0                     if h_i < T
        y_i = x_i * 65536 / (65536 - T)  otherwise      (mode="inverted", training)
        y_i = x_i                        otherwise      (mode="vanilla", training)
        y_i = x_i                                       (mode="inverted", not training)
        y_i = x_i * (65536 - T) / 65536                 (mode="vanilla", not training)

    Parameters
    ----------
    x : array of float32, float64, float16 or bfloat16
        Any shape. It is only read, unless `out` is x. Arrays in C order are used in place; other layouts cost a copy.
    p : float
        Probability of dropping, from 0 to 1, rounded to multiples of 1/65536: 1/2 is exact, 0.1 becomes 6554/65536. The
        scale is that of the rounded p, so the expectation is exact.
    key : Key
        Draws the mask. `dropout_backward` needs the same key, offset and shape. Use a new key for every call:
        ``Philox(seed).key()``.
    mode : {"inverted", "vanilla"}
        Scale in training (the usual form), or in prediction (as in the first paper).
    offset : int
        Index of the first element of x, at least 0 and below 2**63. Elements are counted in C order of the (mask's)
        shape, for any layout in memory. So a call with the second half of x and ``offset=x.size // 2`` drops the same
        elements as a call with x.
    out : array, optional
        The result is written here. It has x's shape and dtype. It is x itself (in place) or shares no memory with x.
        Default: a new array in C order.
    training : bool
        False is for prediction: nothing is dropped, and the key is not used.
    shape : tuple of int, optional
        The mask's shape, if not x's; it must broadcast against x. ``(n, c, 1, 1)`` drops whole channels of an image,
        ``(n, 1, f)`` the same features at all time steps.

    Returns
    -------
    array
        `out`, or a new array; never x itself unless it was given as `out`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described. The message names the argument, what it must be and what it was. Then
        nothing is written.

    Notes
    -----
    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov (2014); the stream is Philox4x32-10, key = seed, counter =
    (block, stream), the low half of word 0 first. The bits are the same for every instruction set and number of
    threads. Numbers of 16 bits (bfloat16 is that of ml_dtypes) are multiplied in float32 and rounded to nearest even.
    Differences from ``torch.nn.functional.dropout``: a key replaces the global generator; a dropped element is +0 even
    if x is infinite, nan or negative (torch multiplies, which gives nan or -0); p is rounded to a multiple of 1/65536;
    p = 1 gives zeros.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> key = fs.Philox(7).key()
    >>> x = np.ones(8, np.float32)
    >>> y = fs.dropout(x, 0.5, key)
    >>> sorted(set(y.tolist()))
    [0.0, 2.0]
    >>> np.array_equal(fs.dropout(x[5:], 0.5, key, offset=5), y[5:])
    True
    """
    return _drop("dropout", "x", x, p, key, mode, offset, out, training, shape)


def dropout_backward(
    dy: Array,
    p: float,
    key: Key,
    mode: str = "inverted",
    offset: int = 0,
    out: Array | None = None,
    *,
    training: bool = True,
    shape: tuple[int, ...] | None = None,
) -> Array:
    r"""Return the gradient with respect to dropout's input; the mask is computed again, not stored.

    ::

        dx_i = 0 if h_i < T, else dy_i * scale          (h, T and the scale are those of `dropout`)

    Parameters
    ----------
    dy : array of float32, float64, float16 or bfloat16
        Gradient with respect to the output.
    p, key, mode, offset, out, training, shape
        As they were given to `dropout`; `out` may be dy.

    Returns
    -------
    array
        `out`, or a new array.

    Raises
    ------
    TypeError, ValueError
        As for `dropout`.

    Notes
    -----
    Dropout is linear with a diagonal Jacobian, so this is `dropout` of dy. The gradient of a dropped element is +0 even
    if dy is infinite or nan; torch's is nan.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> key, dy = fs.Key(7), np.ones(5)
    >>> np.array_equal(fs.dropout_backward(dy, 0.25, key), fs.dropout_mask(5, 0.25, key) / 0.75)
    True
    """
    return _drop("dropout_backward", "dy", dy, p, key, mode, offset, out, training, shape)


def dropout_mask(shape: int | tuple[int, ...], p: float, key: Key, offset: int = 0) -> NDArray[np.bool_]:
    r"""Return the mask of `dropout`: True where an element is kept.

    ::

        mask_i = h_i >= round(65536 p)

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the mask; elements are counted in C order.
    p, key, offset
        As for `dropout`.

    Returns
    -------
    array of bool

    Raises
    ------
    TypeError, ValueError
        As for `dropout`.

    Notes
    -----
    It is for inspection and tests. Training needs no mask. torch and JAX have no such function.

    Examples
    --------
    >>> import fusedstep as fs
    >>> fs.dropout_mask((2, 3), 0.0, fs.Key(7)).all()
    np.True_
    """
    call = "dropout_mask"
    threshold, key = threshold_of(call, p), key_of(call, key)
    return _core.kept(shape_of(call, shape), threshold, key.seed, key.stream, offset_of(call, offset))


def _drop(
    call: str, name: str, x: Any, p: Any, key: Any, mode: Any, offset: Any, out: Any, training: Any, shape: Any
) -> Array:
    threshold = threshold_of(call, p)
    if type(key) is not Key:
        key = key_of(call, key)
    if offset != 0 or type(offset) is not int:
        offset = offset_of(call, offset)
    if training is not True and training is not False:
        raise TypeError(f"{call}: training must be True or False; got {training!r}")
    if type(mode) is not str or mode not in ("inverted", "vanilla"):
        raise ValueError(f'{call}: mode must be "inverted" or "vanilla"; got {mode!r}')
    if shape is not None:
        shape = shape_of(call, shape)
    threshold, scale = threshold_and_scale(threshold, mode, training)
    return _core.drop(call, name, x, out, shape, threshold, scale, key.seed, key.stream, offset)
