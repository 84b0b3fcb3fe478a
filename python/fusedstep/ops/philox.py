"""Keys to streams of random numbers that can be read from any position."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from .. import _core
from ._whole import whole

_LIMIT = 2**64
#: Elements own blocks below 2**63; blocks from there on make new keys.
_FOLDS = 2**63


@dataclass(frozen=True)
class Key:
    """The name of one stream of random numbers. It holds no position: used twice, it gives the same numbers twice.

    Parameters
    ----------
    seed : int
        The key of Philox4x32-10, at least 0 and below 2**64.
    stream : int
        The upper half of its counter, at least 0 and below 2**64. Streams of a seed do not overlap.

    Raises
    ------
    TypeError, ValueError
        If an argument is no such number.

    Examples
    --------
    >>> import fusedstep as fs
    >>> fs.Key(seed=7, stream=0)
    Key(seed=7, stream=0)
    """

    seed: int
    stream: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", whole("Key: seed", self.seed, _LIMIT))
        object.__setattr__(self, "stream", whole("Key: stream", self.stream, _LIMIT))

    def fold(self, index: int) -> Key:
        """Return the index-th of this key's own keys, whose numbers have nothing to do with its own.

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
            If the index is no such number.

        Notes
        -----
        For what comes in unforeseen numbers: one key per sample, layer or step, without a counter. Two of the 2**128
        possible keys coincide with a chance that can be neglected. Like ``jax.random.fold_in``; torch has none.

        Examples
        --------
        >>> import fusedstep as fs
        >>> key = fs.Key(7)
        >>> key.fold(0) == key.fold(0), key.fold(0) == key.fold(1)
        (True, False)
        """
        index = whole("Key.fold: index", index, _FOLDS)
        w = _core.philox_block(self.seed, self.stream, _FOLDS + index)
        return Key(w[0] | w[1] << 32, w[2] | w[3] << 32)


class Philox:
    """A source of fresh keys: a seed and a counter of streams. It can be used from several threads.

    Parameters
    ----------
    seed : int
        At least 0 and below 2**64.

    Raises
    ------
    TypeError, ValueError
        If the seed is no such number.

    Notes
    -----
    Salmon, Moraes, Dror, Shaw (2011), Philox4x32-10. Unlike ``torch.Generator`` it holds no position within a stream:
    a draw is a function of the key and of the elements' indices, whatever was drawn before. Distinct seeds and
    distinct streams give independent numbers.

    Examples
    --------
    >>> import fusedstep as fs
    >>> rng = fs.Philox(7)
    >>> rng.key(), rng.key()
    (Key(seed=7, stream=0), Key(seed=7, stream=1))
    >>> resumed = fs.Philox(0)
    >>> resumed.load_state_dict(rng.state_dict())
    >>> resumed.key()
    Key(seed=7, stream=2)
    """

    def __init__(self, seed: int) -> None:
        self._lock = threading.Lock()
        self._seed = whole("Philox: seed", seed, _LIMIT)
        self._next = 0

    @property
    def seed(self) -> int:
        """The seed of all keys."""
        return self._seed

    def key(self) -> Key:
        """Return a key that this source has not given before.

        Raises
        ------
        OverflowError
            After 2**64 keys.
        """
        with self._lock:
            if self._next >= _LIMIT:
                raise OverflowError("Philox.key: all 2**64 streams of this seed have been given")
            key = Key(self._seed, self._next)
            self._next += 1
        return key

    def state_dict(self) -> dict[str, int]:
        """Return the seed and the number of the next stream, as plain numbers."""
        with self._lock:
            return {"seed": self._seed, "stream": self._next}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where the source of that state was.

        Parameters
        ----------
        state : mapping
            From `state_dict`.

        Raises
        ------
        TypeError, ValueError
            If it is no such state; this source is then as it was.
        """
        if not isinstance(state, Mapping) or set(state) != {"seed", "stream"}:
            raise ValueError(f'Philox.load_state_dict: state must have "seed" and "stream"; got {state!r}')
        seed = whole("Philox.load_state_dict: seed", state["seed"], _LIMIT)
        stream = whole("Philox.load_state_dict: stream", state["stream"], _LIMIT + 1)  # the limit: none is left
        with self._lock:
            self._seed, self._next = seed, stream

    def __repr__(self) -> str:
        return f"<Philox seed={self._seed}, next stream {self._next}>"

    # A lock cannot be copied; a copy goes on from the same stream.
    def __getstate__(self) -> dict[str, int]:
        return self.state_dict()

    def __setstate__(self, state: dict[str, int]) -> None:
        self._lock = threading.Lock()
        self._seed, self._next = state["seed"], state["stream"]
