"""Keys of streams of random numbers, and checks of their arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import _core
from .checks import up_to_one, whole_number

LIMIT = 2**64
#: Elements use blocks below 2**63; the other blocks make derived keys.
_FOLDS = 2**63
#: Random halves have 16 bits: probabilities are multiples of 1 / STEPS.
STEPS = 65536


@dataclass(frozen=True)
class Key:
    """The name of one stream of random numbers. It has no position: each use of a key gives the same numbers.

    Parameters
    ----------
    seed : int
        The key of Philox4x32-10, at least 0 and below 2**64.
    stream : int
        The upper half of its counter, at least 0 and below 2**64. Streams of a seed do not overlap.

    Raises
    ------
    TypeError, ValueError
        If an argument is not such a number.

    Examples
    --------
    >>> import fusedstep as fs
    >>> fs.Key(seed=7, stream=0)
    Key(seed=7, stream=0)
    """

    seed: int
    stream: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", whole_number("Key: seed", self.seed, LIMIT))
        object.__setattr__(self, "stream", whole_number("Key: stream", self.stream, LIMIT))

    def fold(self, index: int) -> Key:
        """Return the index-th key derived from this one; its numbers are independent of this key's.

        ::

            w = Philox4x32-10(key = seed, counter = (2^63 + index, stream))
            Key(w0 + 2^32 w1, w2 + 2^32 w3)

        Parameters
        ----------
        index : int
            At least 0 and below 2**63.

        Returns
        -------
        Key

        Raises
        ------
        TypeError, ValueError
            If the index is not such a number.

        Notes
        -----
        Use it to give each sample, layer or step its own key if the number of keys is not known before. Two derived
        keys are equal with negligible probability, as there are 2**128 keys. The function is like
        ``jax.random.fold_in``; torch has no such function.

        Examples
        --------
        >>> import fusedstep as fs
        >>> key = fs.Key(7)
        >>> key.fold(0) == key.fold(0), key.fold(0) == key.fold(1)
        (True, False)
        """
        index = whole_number("Key.fold: index", index, _FOLDS)
        w = _core.philox_block(self.seed, self.stream, _FOLDS + index)
        return Key(w[0] | w[1] << 32, w[2] | w[3] << 32)


def key_of(call: str, key: Any) -> Key:
    """Return the key, or raise an error that says how to get one."""
    if not isinstance(key, Key):
        raise TypeError(f"{call}: key must be a Key (from Philox(seed).key()); got {type(key).__name__}")
    return key


def offset_of(call: str, offset: Any) -> int:
    """Return the index of the first element."""
    if type(offset) is int and 0 <= offset < 2**63:
        return offset
    return whole_number(f"{call}: offset", offset, 2**63)


def shape_of(call: str, shape: Any) -> tuple[int, ...]:
    """Return a shape as a tuple; it is given as a tuple, a list or a whole number."""
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    return tuple(whole_number(f"{call}: shape[{k}]", size, 2**63) for k, size in enumerate(sizes))


def threshold_of(call: str, p: Any) -> int:
    """Return how many of the STEPS values of 16 random bits drop an element."""
    if not (type(p) is float and 0.0 <= p <= 1.0):
        p = up_to_one(f"{call}: p", p)
    return round(STEPS * p)


def threshold_and_scale(threshold: int, mode: str, training: bool) -> tuple[int, float]:
    """Return the threshold below which an element is dropped, and the factor of the others."""
    kept = STEPS - threshold
    if training:
        return threshold, STEPS / kept if mode == "inverted" and kept else 1.0
    return 0, kept / STEPS if mode == "vanilla" else 1.0
