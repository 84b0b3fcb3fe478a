"""Mixed examples: mixup and CutMix."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._base.checks import flag, positive
from .._base.random import key_of
from ..ops.draws import beta, permutation, uniform
from ..ops.philox import Key
from ._arguments import examples

Array = npt.NDArray[Any]


class Mixed(NamedTuple):
    """Mixed examples, returned by `mixup` and `cutmix`.

    Attributes
    ----------
    x, targets : ndarray
        The mixed inputs and targets, with the shapes and dtypes of the original arrays.
    weight : ndarray, shape (n,)
        The weight of each example's own target. The partner is the other example in the mixture. The target of the
        partner has the weight ``1 - weight``.
    partner : ndarray of intp, shape (n,)
        The index of each example's partner.
    """

    x: Array
    targets: Array
    weight: npt.NDArray[np.float64]
    partner: npt.NDArray[np.intp]


def mixup(x: Array, targets: Array, key: Key, alpha: float = 0.2, *, per_row: bool = False) -> Mixed:
    r"""Mix every example with a random partner from the batch. Inputs and targets are mixed with the same weights.

    ::

        lam ~ Beta(alpha, alpha)
        x'_i = lam x_i + (1 - lam) x_j,    t'_i = lam t_i + (1 - lam) t_j,    j = partner of i

    Parameters
    ----------
    x : ndarray (float32 or float64), shape (n, ...)
        Inputs. They are not written to.
    targets : ndarray (float32 or float64), shape (n, ...)
        Numbers, or distributions over the classes. Convert labels with `one_hot` or `label_smoothing` first.
    key : Key
        Draws lam and the partners. The partners are a permutation of the examples. So an example may be its own
        partner. Use a new key for every batch.
    alpha : float
        A number above 0. If alpha is small, one of the two examples has nearly all the weight. If alpha is 1, lam is
        uniform from 0 to 1.
    per_row : bool
        If True, each example has its own lam. If False, all examples of the batch have the same lam.

    Returns
    -------
    Mixed
        (x, targets, weight, partner), new arrays.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Source: Zhang, Cisse, Dauphin, Lopez-Paz (2018). Their code draws one lam per batch.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> x, t = np.array([[0.0], [4.0]]), fs.augment.one_hot([0, 1], 2, np.float64)
    >>> m = mixup(x, t, fs.Key(3), alpha=1.0)
    >>> bool(np.allclose(m.x, 4.0 * m.targets[:, 1:]))
    True
    """
    call = "mixup"
    x, t = _pair(call, x, targets)
    weight, partner = _draw(call, len(x), key, alpha, per_row)
    return Mixed(_blend(x, partner, weight), _blend(t, partner, weight), weight, partner)


def cutmix(images: Array, targets: Array, key: Key, alpha: float = 1.0, *, per_row: bool = False) -> Mixed:
    r"""Copy a rectangle of a random partner image into every image, and mix the two targets.

    The weight of each target is the fraction of the pixels that come from its image.

    ::

        lam ~ Beta(alpha, alpha)
        box: height H sqrt(1 - lam), width W sqrt(1 - lam), uniform centre, cut off at the edges of the image
        x'_i = x_j inside the box, x_i outside,    j = partner of i
        t'_i = lam' t_i + (1 - lam') t_j,    1 - lam' = area of the box / (H W)

    Parameters
    ----------
    images : ndarray (float32 or float64), shape (n, ..., H, W)
        The images. They are not written to.
    targets : ndarray (float32 or float64), shape (n, ...)
        Distributions over the classes. Convert labels with `one_hot` or `label_smoothing` first.
    key : Key
        Draws lam, the box and the partners. The partners are a permutation of the images. So an image may be its own
        partner. Use a new key for every batch.
    alpha : float
        A number above 0. If alpha is 1, as in the paper, lam is uniform from 0 to 1.
    per_row : bool
        If True, each image has its own lam and its own box. If False, all images of the batch have the same lam and the
        same box.

    Returns
    -------
    Mixed
        (x, targets, weight, partner), new arrays.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Source: Yun et al. (2019), "CutMix", section 3.1 and algorithm 1.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> images, t = np.zeros((2, 8, 8)), fs.augment.one_hot([0, 1], 2, np.float64)
    >>> images[1] = 1.0
    >>> m = cutmix(images, t, fs.Key(3))
    >>> bool(np.allclose(m.x.mean(axis=(1, 2)), m.targets[:, 1]))
    True
    """
    call = "cutmix"
    x, t = _pair(call, examples(call, "images", images, axes=3), targets)
    weight, partner = _draw(call, len(x), key, alpha, per_row)
    height, width = x.shape[-2:]
    centre = uniform((2, len(x) if per_row else 1), key.fold(2))
    side = np.sqrt(1.0 - weight[: centre.shape[1]])
    rows, cols = _interval(centre[0], side, height), _interval(centre[1], side, width)
    box = rows[:, :, None] & cols[:, None, :]
    weight = np.broadcast_to(1.0 - box.mean(axis=(1, 2)), (len(x),)).copy()
    box = box.reshape(len(box), *[1] * (x.ndim - 3), height, width)
    return Mixed(np.where(box, x[partner], x), _blend(t, partner, weight), weight, partner)


def _pair(call: str, x: object, targets: object) -> tuple[Array, Array]:
    rows, t = examples(call, "x", x), examples(call, "targets", targets)
    if len(t) != len(rows):
        raise ValueError(f"{call}: targets must have {len(rows)} rows; got {len(t)}")
    return rows, t


def _draw(call: str, n: int, key: Key, alpha: float, per_row: bool) -> tuple[Array, Array]:
    """Return, for each example, its own weight lam in the mixture, and the index of its partner."""
    key, alpha, per_row = key_of(call, key), positive(f"{call}: alpha", alpha), flag(f"{call}: per_row", per_row)
    weight = beta(n if per_row else 1, alpha, alpha, key.fold(0))
    return np.broadcast_to(weight, (n,)).copy(), permutation(n, key.fold(1))


def _blend(a: Array, partner: Array, weight: Array) -> Array:
    own = weight.astype(a.dtype).reshape(-1, *[1] * (a.ndim - 1))
    return own * a + (1 - own) * a[partner]


def _interval(centre: Array, side: Array, length: int) -> npt.NDArray[np.bool_]:
    """Return an array of shape (boxes, length): True for the pixels along one axis that are inside the box.

    `centre` and `side` are the centre and the side of each box along this axis, as fractions of `length`.
    """
    half = side * length / 2
    low, high = np.rint(centre * length - half), np.rint(centre * length + half)
    at = np.arange(length)
    inside: npt.NDArray[np.bool_] = (at >= low[:, None]) & (at < high[:, None])
    return inside
