"""What a module shows: its public names, those that load when they are first used, and the nearest to a wrong one."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

NOWHERE: Mapping[str, str] = MappingProxyType({})


def shown(
    module: str, names: Sequence[str], homes: Mapping[str, str] = NOWHERE
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a module.

    Parameters
    ----------
    module : str
        Its name.
    names : sequence of str
        What is public.
    homes : mapping, optional
        Name -> module, relative to this one, that has it and is imported when the name is first used; where the
        module's own name is the same, it is the module that is meant.
    """

    def __getattr__(name: str) -> Any:
        if name in homes:
            home = importlib.import_module(homes[name], module)
            value = home if homes[name] == f".{name}" else getattr(home, name)
            setattr(importlib.import_module(module), name, value)
            return value
        raise AttributeError(f"module {module!r} has no attribute {name!r}{nearest(name, __dir__())}")

    def __dir__() -> list[str]:
        return sorted(names)

    return __getattr__, __dir__


def nearest(name: str, known: Sequence[str]) -> str:
    """Ask whether the nearest known name was meant; say nothing where none is near."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""
