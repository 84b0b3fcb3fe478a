"""A group of parameters and its hyperparameters."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from .._base.checks import Check
from ._params import Array


class Group(MutableMapping[str, Any]):
    """A group of parameters. It maps names of options to values. You can assign values, and the next step uses them.

    ``group["params"]`` is the tuple of the group's arrays and cannot be changed.
    """

    def __init__(
        self,
        where: str,
        params: tuple[Array, ...],
        values: dict[str, Any],
        checks: dict[str, Check],
        only_at_first: frozenset[str],
        changed: Callable[[Group], None],
    ) -> None:
        self._where, self._checks = where, checks
        self._changed = weakref.WeakMethod(changed)  # weak, as a cycle of references would delay freeing the memory
        self._only_at_first = only_at_first
        self._params = params
        for name in values:
            self._require_known(name)
        self._values = {name: check(self.what(name), values[name]) for name, check in checks.items()}

    def what(self, name: str) -> str:
        """Return the name of an option as it appears in error messages."""
        return f"{self._where}{name}"

    def _require_known(self, name: str) -> None:
        if name not in self._checks:
            raise ValueError(
                f"{self._where}{name} is not an option of a group; the options are {', '.join(self._checks)}"
            )

    def __getitem__(self, name: str) -> Any:
        return self._params if name == "params" else self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "params":
            raise ValueError(f"{self._where}params cannot be changed; make a new optimizer")
        self._require_known(name)
        if name in self._only_at_first:
            raise ValueError(f"{self._where}{name} cannot be changed; make a new optimizer")
        self.assign({name: value})

    def assign(self, values: dict[str, Any]) -> None:
        """Assign new values to several options. If an error is raised, no option has changed."""
        checked = {name: self._checks[name](self.what(name), value) for name, value in values.items()}
        changed = self._changed()
        if changed is None:
            raise ReferenceError(f"{self._where}the optimizer of this group no longer exists")
        before = dict(self._values)
        self._values.update(checked)
        try:
            changed(self)
        except Exception:
            self._values = before
            raise

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"{self._where}{name} cannot be removed")

    def __iter__(self) -> Iterator[str]:
        yield "params"
        yield from self._values

    def __len__(self) -> int:
        return 1 + len(self._values)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name!r}: {value!r}" for name, value in self._values.items())
        return f"{{'params': <{len(self._params)} arrays>, {shown}}}"
