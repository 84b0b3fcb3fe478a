"""Random moves of small images. Each image is moved separately.

Pixels that leave an image are lost. Pixels that come from outside of the image get the value ``fill``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .._base.checks import non_negative, number, up_to_one, whole_number
from .._base.optional import need
from .._base.random import key_of
from ..ops.draws import uniform
from ..ops.philox import Key
from ._arguments import examples

Array = npt.NDArray[Any]


def shift(images: Array, key: Key, max_shift: int = 1, *, fill: float = 0.0, first_row: int = 0) -> Array:
    """Move every image along its height and its width, by random whole numbers from -max_shift to max_shift.

    Parameters
    ----------
    images : ndarray (float32 or float64), shape (n, ..., height, width)
        The images. They are not written to.
    key : Key
        The move of image i depends only on the key and on ``first_row + i``. Use a new key for every epoch, and also
        for every batch if all batches have the same ``first_row``.
    max_shift : int
        Largest move, in pixels, at least 0.
    fill : float
        Value of pixels that come from outside of the image.
    first_row : int
        Index of ``images[0]`` in the whole data set.

    Returns
    -------
    ndarray
        A new array.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> image = np.zeros((1, 5, 5))
    >>> image[0, 2, 2] = 1
    >>> moved = shift(np.repeat(image, 100, axis=0), fs.Key(7))
    >>> {tuple((np.argwhere(m)[0] - 2).tolist()) for m in moved} == {(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)}
    True
    """
    call = "shift"
    x, u = _start(call, images, key, first_row, per_image=2)
    most = whole_number(f"{call}: max_shift", max_shift, 2**31)
    steps = np.floor(u * (2 * most + 1)).astype(np.intp) - most
    planes = _planes(x)
    n, channels, height, width = planes.shape
    rows, row_in = _source(steps[:, 0], height)
    cols, col_in = _source(steps[:, 1], width)
    image, plane = np.ix_(np.arange(n), np.arange(channels))
    moved = planes[image[..., None, None], plane[..., None, None], rows[:, None, :, None], cols[:, None, None, :]]
    inside = row_in[:, None, :, None] & col_in[:, None, None, :]
    return np.where(inside, moved, x.dtype.type(number(f"{call}: fill", fill))).reshape(x.shape)


def _source(step: Array, length: int) -> tuple[Array, Array]:
    """Return for each pixel along an axis the index that it is copied from, and whether this index is inside the image.

    `step` is the shift of each image. An index outside of the image is replaced with the nearest index inside.
    """
    at = np.arange(length) - step[:, None]
    return np.clip(at, 0, length - 1), (at >= 0) & (at < length)


def flip(images: Array, key: Key, p: float = 0.5, *, axis: int = -1, first_row: int = 0) -> Array:
    """Mirror every image with probability p.

    Parameters
    ----------
    images : ndarray (float32 or float64), shape (n, ..., height, width)
        The images. They are not written to.
    key : Key
        Whether image i is mirrored depends only on the key and on ``first_row + i``. Use a new key for every epoch, and
        also for every batch if all batches have the same ``first_row``.
    p : float
        Probability, from 0 to 1.
    axis : {-1, -2}
        -1 exchanges left and right. -2 exchanges top and bottom.
    first_row : int
        Index of ``images[0]`` in the whole data set.

    Returns
    -------
    ndarray
        A new array.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> flip(np.array([[[1.0, 2.0]]]), fs.Key(7), p=1.0)
    array([[[2., 1.]]])
    """
    call = "flip"
    x, u = _start(call, images, key, first_row, per_image=1)
    if axis not in (-1, -2):
        raise ValueError(f"{call}: axis must be -1 or -2; got {axis!r}")
    turned = (u < up_to_one(f"{call}: p", p)).reshape(-1, *[1] * (x.ndim - 1))
    return np.where(turned, np.flip(x, axis), x)


def rotate(images: Array, key: Key, max_degrees: float = 10.0, *, fill: float = 0.0, first_row: int = 0) -> Array:
    """Rotate every image around its centre by a random angle from -max_degrees to max_degrees.

    Parameters
    ----------
    images : ndarray (float32 or float64), shape (n, ..., height, width)
        The images. They are not written to.
    key : Key
        The angle of image i depends only on the key and on ``first_row + i``. Use a new key for every epoch, and also
        for every batch if all batches have the same ``first_row``.
    max_degrees : float
        Largest angle, in degrees, at least 0.
    fill : float
        Value of pixels that come from outside of the image.
    first_row : int
        Index of ``images[0]`` in the whole data set.

    Returns
    -------
    ndarray
        A new array. Pixels are interpolated linearly.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    ImportError
        If scipy is not installed. Install it with ``pip install 'fusedstep[augment]'``.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> image = np.ones((1, 8, 8))
    >>> bool(np.allclose(rotate(image, fs.Key(7), 0.0), image))
    True
    """
    call = "rotate"
    x, u = _start(call, images, key, first_row, per_image=1)
    angle = np.deg2rad(non_negative(f"{call}: max_degrees", max_degrees)) * (2 * u[:, 0] - 1)
    planes = _planes(x)
    n, channels, height, width = shape = planes.shape
    y, z = np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    rows = cos * y[:, None] - sin * z + (height - 1) / 2
    cols = sin * y[:, None] + cos * z + (width - 1) / 2
    number_of = np.broadcast_to(np.arange(n * channels).reshape(n, channels, 1, 1), shape)
    at = [number_of, np.broadcast_to(rows[:, None], shape), np.broadcast_to(cols[:, None], shape)]
    interpolate = need("scipy.ndimage", "scipy", extra="augment").map_coordinates
    turned: Array = interpolate(
        planes.reshape(-1, height, width), at, order=1, mode="constant", cval=number(f"{call}: fill", fill)
    )
    return turned.astype(x.dtype, copy=False).reshape(x.shape)


def _planes(x: Array) -> Array:
    """Return images (n, ..., height, width) as (n, channels, height, width)."""
    return x.reshape(len(x), math.prod(x.shape[1:-2]), *x.shape[-2:])


def _start(call: str, images: object, key: Key, first_row: int, per_image: int) -> tuple[Array, Array]:
    """Check the common arguments. Return the images, and `per_image` uniform random numbers for each image."""
    x = examples(call, "images", images, axes=3)
    first = whole_number(f"{call}: first_row", first_row, 2**62)  # an image has up to two numbers, with indices < 2**63
    return x, uniform((len(x), per_image), key_of(call, key), first * per_image)
