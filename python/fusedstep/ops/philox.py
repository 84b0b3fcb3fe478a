"""The generator of keys. A key selects a stream of random numbers."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from .._base.checks import whole_number
from .._base.random import LIMIT
from .._base.random import Key as Key


class Philox:
    """A generator of keys. Each key selects a stream: a sequence of random numbers.

    All keys have the seed of the generator, and each new key has the next stream number.

    Several threads can use the same object.

    Parameters
    ----------
    seed : int
        At least 0 and below 2**64.

    Raises
    ------
    TypeError, ValueError
        If the seed is not a whole number in this range.

    Notes
    -----
    Salmon, Moraes, Dror, Shaw (2011), Philox4x32-10. A random number depends only on the key and on the index in
    the stream, not on earlier calls. Keys with different seeds or stream numbers give independent numbers.

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
        self._seed = whole_number("Philox: seed", seed, LIMIT)
        self._next = 0

    @property
    def seed(self) -> int:
        """The seed of all keys."""
        return self._seed

    def key(self) -> Key:
        """Return a new key.

        Raises
        ------
        OverflowError
            After 2**64 keys.
        """
        with self._lock:
            if self._next >= LIMIT:
                raise OverflowError("Philox.key: all 2**64 streams of this seed are used up")
            key = Key(self._seed, self._next)
            self._next += 1
        return key

    def state_dict(self) -> dict[str, int]:
        """Return the seed and the number of the next stream as a dict."""
        with self._lock:
            return {"seed": self._seed, "stream": self._next}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Restore a saved state. The next call of `key` then returns the key that was next when the state was saved.

        Parameters
        ----------
        state : mapping
            The result of `state_dict`.

        Raises
        ------
        TypeError, ValueError
            If `state` is not a result of `state_dict`. If an error is raised, this object has not changed.
        """
        if not isinstance(state, Mapping) or set(state) != {"seed", "stream"}:
            raise ValueError(f'Philox.load_state_dict: state must be a dict of "seed" and "stream" only; got {state!r}')
        seed = whole_number("Philox.load_state_dict: seed", state["seed"], LIMIT)
        stream = whole_number(
            "Philox.load_state_dict: stream", state["stream"], LIMIT + 1
        )  # LIMIT itself means that no stream is left
        with self._lock:
            self._seed, self._next = seed, stream

    def __repr__(self) -> str:
        return f"<Philox seed={self._seed}, next stream {self._next}>"

    # The state is without the lock, because a lock cannot be copied or pickled. A copy makes its own lock.
    def __getstate__(self) -> dict[str, int]:
        return self.state_dict()

    def __setstate__(self, state: dict[str, int]) -> None:
        self._lock = threading.Lock()
        self._seed, self._next = state["seed"], state["stream"]
