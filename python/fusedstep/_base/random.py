"""Keys of streams of random numbers, and checks of the arguments of functions that use random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import _core
from .checks import up_to_one, whole_number

LIMIT = 2**64
#: The generator Philox computes numbered blocks of 128 random bits. The elements of arrays use the blocks below 2**63,
#: and `Key.fold` uses the blocks from 2**63 on.
_FOLDS = 2**63
#: Dropout uses 16 random bits for each element. So its probabilities are multiples of 1 / STEPS.
STEPS = 65536


@dataclass(frozen=True)
class Key:
    """The key of one stream of random numbers. Every use of the same key gives the same numbers.

    Parameters
    ----------
    seed : int
        Seed of the generator Philox4x32-10, at least 0 and below 2**64.
    stream : int
        The number of the stream, at least 0 and below 2**64. It is the upper half of Philox's counter. So two streams
        of the same seed do not overlap.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a whole number in this range.

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
        """Return a new key, which depends on this key and on an index.

        The random numbers of the new key are independent of those of this key. The new key is computed from
        the `seed` and the `stream` of this key::

            w = Philox4x32-10(key = seed, counter = (2^63 + index, stream))
            new key = Key(seed = w0 + 2^32 w1, stream = w2 + 2^32 w3)

        w has 128 bits, and w0 to w3 are the four 32-bit words of w.

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
            If the index is not a whole number in this range.

        Notes
        -----
        Use this method to give each sample, layer or step its own key. There are 2**128 keys, so the probability that
        two derived keys are equal is negligible. The method is similar to ``jax.random.fold_in``. torch has no such
        function.

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
    """Return `key` if it is a `Key`. Otherwise raise an error that says how to create a key."""
    if not isinstance(key, Key):
        raise TypeError(f"{call}: key must be a Key (from Philox(seed).key()); got {type(key).__name__}")
    return key


def offset_of(call: str, offset: Any) -> int:
    """Return `offset`, the index of the first element, as an int."""
    if type(offset) is int and 0 <= offset < 2**63:
        return offset
    return whole_number(f"{call}: offset", offset, 2**63)


def shape_of(call: str, shape: Any) -> tuple[int, ...]:
    """Return a shape as a tuple. The argument is a tuple, a list or a whole number."""
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    return tuple(whole_number(f"{call}: shape[{k}]", size, 2**63) for k, size in enumerate(sizes))


def threshold_of(call: str, p: Any) -> int:
    """Return the threshold T of a probability p. An element is dropped if its 16 random bits are below T."""
    if not (type(p) is float and 0.0 <= p <= 1.0):
        p = up_to_one(f"{call}: p", p)
    return round(STEPS * p)


def threshold_and_scale(threshold: int, mode: str, training: bool) -> tuple[int, float]:
    """Return the threshold that the kernel uses, and the factor by which the kernel multiplies kept elements.

    The argument `threshold` is the result of `threshold_of`. The kernel uses this threshold in training. Outside
    training, its threshold is 0, so that no element is dropped.
    """
    kept = STEPS - threshold
    if training:
        return threshold, STEPS / kept if mode == "inverted" and kept else 1.0
    return 0, kept / STEPS if mode == "vanilla" else 1.0
