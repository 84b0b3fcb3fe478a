"""Dropout without a stored mask. The probability, the key (seed, stream) and i decide whether element i is dropped."""

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

    A Philox block is 128 random bits: eight numbers of 16 bits.

    ::

        T = round(65536 p)                              h_i = 16-bit number (i mod 8) of Philox block i // 8
        y_i = 0                     if h_i < T          (training)
        y_i = x_i * 65536 / (65536 - T)  otherwise      (mode="inverted", training)
        y_i = x_i                        otherwise      (mode="vanilla", training)
        y_i = x_i                                       (mode="inverted", not training)
        y_i = x_i * (65536 - T) / 65536                 (mode="vanilla", not training)

    The key and the index i decide whether element i is dropped. So no mask is stored.

    Parameters
    ----------
    x : array of float32, float64, float16 or bfloat16
        The input, of any shape. It does not change, except if `out` is x. If x is not in C order, it is copied first.
    p : float
        Probability of dropping an element, from 0 to 1. It is rounded to a multiple of 1/65536: 1/2 is exact, and 0.1
        becomes 6554/65536. The rounded p is the real probability of a drop, and the factors above use it.
    key : Key
        The key of the random numbers. Use a new key for every call: create ``rng = Philox(seed)`` once, and pass
        ``rng.key()``. `dropout_backward` needs the same key, offset and shape.
    mode : {"inverted", "vanilla"}
        "inverted" scales the elements in training, as usual. "vanilla" scales them in prediction, as in the paper by
        Srivastava et al. (2014).
    offset : int
        Index i of the mask's first element, at least 0 and below 2**63. Elements are counted in C order of the mask's
        shape, whatever the layout of x in memory. With `offset`, you can process a long array in parts: if x has one
        axis, ``dropout(x[k:], p, key, offset=k)`` is equal to ``dropout(x, p, key)[k:]``.
    out : array, optional
        The array for the result, with x's shape and dtype. It must be x itself (in place), or share no memory with x.
        By default, the result is a new array in C order.
    training : bool
        False is for prediction. Then no element is dropped, and the key is not used.
    shape : tuple of int, optional
        The shape of the mask, which must broadcast to the shape of x. The default is the shape of x. If x has the shape
        (n, c, h, w), the mask ``(n, c, 1, 1)`` drops whole channels of images. If x has the shape (n, t, f), the mask
        ``(n, 1, f)`` drops the same features at all times t.

    Returns
    -------
    array
        `out` if it was given, else a new array.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described. The message says which argument is wrong, what it must be and what it was.
        If an error is raised, no array has changed.

    Notes
    -----
    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov (2014). The generator is Philox4x32-10. Its key is
    ``key.seed``. Its counter is the pair of i // 8 and ``key.stream``. A block is four words of 32 bits. Each word is
    two 16-bit numbers: first the low bits, then the high bits.
    The results have the same bits for every instruction set and number of threads. If x is float16 or
    bfloat16, its elements are multiplied in float32, and the products are rounded to nearest even. bfloat16 is the
    dtype of the package ml_dtypes.

    This function differs from ``torch.nn.functional.dropout``. It has a key instead of a global generator. p is rounded
    to a multiple of 1/65536. A dropped element is +0 for every x. In torch, it is the product
    of x and 0, which is nan if x is infinite or nan, and -0 if x is negative.

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
    r"""Return the gradient with respect to the input of `dropout`. The mask is computed again from the key.

    ::

        dx_i = 0            if `dropout` drops element i
        dx_i = c * dy_i     otherwise, where y_i = c * x_i in `dropout`

    Parameters
    ----------
    dy : array of float32, float64, float16 or bfloat16
        Gradient with respect to the output of `dropout`.
    p, key, mode, offset, training, shape
        The same values as in the call of `dropout`.
    out : array, optional
        The array for the result, with dy's shape and dtype. It may be dy.

    Returns
    -------
    array
        `out` if it was given, else a new array.

    Raises
    ------
    TypeError, ValueError
        In the same cases as in `dropout`.

    Notes
    -----
    Dropout is linear with a diagonal Jacobian. So the gradient is `dropout` of dy with the same key. The gradient of a
    dropped element is +0 even if dy is infinite or nan. In torch, this gradient is nan.

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

    h_i is the 16-bit random number of element i, as in `dropout`.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the mask. Elements are counted in C order.
    p, key, offset
        The same as in `dropout`.

    Returns
    -------
    array of bool

    Raises
    ------
    TypeError, ValueError
        In the same cases as in `dropout`.

    Notes
    -----
    Use the mask for inspection and tests. Training does not need the mask. torch and JAX have no such function.

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
