"""Public names of a module, imports at the first use of a name, and suggestions for misspelled names."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any

NOWHERE: Mapping[str, str] = MappingProxyType({})
FOR_CHECKERS = ("TYPE_CHECKING", "annotations")


def shown(
    namespace: dict[str, Any], names: Sequence[str] = (), homes: Mapping[str, str] = NOWHERE
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__all__``, ``__getattr__`` and ``__dir__`` of a module.

    Parameters
    ----------
    namespace : dict
        The ``globals()`` of the module.
    names : sequence of str, optional
        The public names. By default, all names of the module except modules, "TYPE_CHECKING", "annotations" and names
        that begin with an underscore.
    homes : mapping, optional
        For each name that is imported at its first use: the module that defines the name, such as ".adam" for
        "Adam". For the name of a submodule: the submodule itself, such as ".nn" for "nn".
    """
    module = namespace["__name__"]
    named = (name for name, value in namespace.items() if not isinstance(value, ModuleType))
    public = sorted(names or (name for name in named if not name.startswith("_") and name not in FOR_CHECKERS))

    def __getattr__(name: str) -> Any:
        if name in homes:
            home = importlib.import_module(homes[name], module)
            value = namespace[name] = home if homes[name] == f".{name}" else getattr(home, name)
            return value
        raise AttributeError(f"module {module!r} has no attribute {name!r}{nearest(name, public)}")

    return public, __getattr__, lambda: public


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a text that suggests the most similar known name, or an empty text."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""
