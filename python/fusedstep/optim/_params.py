"""Converts all forms of the argument `params` into one list."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
ParamKey = str | int


class Entry(NamedTuple):
    """One parameter: its key (its name, or its position if it has no name), its array and the number of its group."""

    key: ParamKey
    array: Array
    group: int


def parse(label: str, params: Any) -> tuple[list[Entry], list[dict[str, Any]]]:
    """Return a list of all parameters in their order, and a list with the options of every group.

    Parameters
    ----------
    label : str
        Name of the optimizer, for errors.
    params : list of arrays, {name: array}, or list of groups {"params": ..., option: value, ...}
        The optimizer's argument `params`.
    """
    groups = _groups(label, params)
    entries: list[Entry] = []
    options: list[dict[str, Any]] = []
    for k, group in enumerate(groups):
        if "params" not in group:
            raise ValueError(f'{label}: groups[{k}] must have "params" as key; got the keys {sorted(map(str, group))}')
        for name, array in _items(label, group["params"]):
            key: ParamKey = len(entries) if name is None else name
            entries.append(Entry(key, array, k))
        options.append({str(name): value for name, value in group.items() if name != "params"})
    if not entries:
        raise ValueError(f"{label}: params must have at least one array; got none")
    _check_keys(label, entries)
    return entries, options


def foreign_memory(arrays: Iterable[Array]) -> list[memoryview]:
    """Return memoryviews of the memory that the arrays use and do not own.

    As long as the caller keeps these memoryviews, a mapped file or a shared memory under an array cannot be closed.
    """
    found: dict[int, memoryview] = {}
    for array in arrays:
        base: Any = array
        while isinstance(base, np.ndarray):
            base = base.base
        # `memoryview` raises an error if the array owns its memory (base is None), or if base is not a buffer.
        with contextlib.suppress(TypeError, BufferError):
            found[id(base)] = memoryview(base)
    return list(found.values())


def _groups(label: str, params: Any) -> list[Mapping[str, Any]]:
    if isinstance(params, np.ndarray):
        raise TypeError(f"{label}: params must be a list or a dict of arrays; got one array (put it into a list)")
    if hasattr(params, "columns") and hasattr(params, "dtypes"):
        kind = type(params).__name__
        raise TypeError(
            f"{label}: params must be a list or a dict of arrays; got a {kind}, whose columns may be copies "
            "(convert the columns to arrays, update the arrays, and assign them to the table)"
        )
    if hasattr(params, "__array__") and not hasattr(params, "__dlpack__"):  # a pandas Series, for example
        raise TypeError(f"{label}: params must be a list or a dict of arrays; got a {type(params).__name__}")
    if isinstance(params, Mapping):
        return [{"params": params}]
    if not isinstance(params, Iterable) or isinstance(params, (str, bytes)):
        raise TypeError(f"{label}: params must be a list or a dict of arrays; got {type(params).__name__}")
    members = list(params)
    groups: list[Mapping[str, Any]] = [m for m in members if isinstance(m, Mapping)]
    if groups and len(groups) < len(members):
        raise TypeError(f"{label}: params must have only arrays or only groups; got arrays and groups")
    return groups if groups else [{"params": members}]


def _items(label: str, params: Any) -> list[tuple[str | None, Any]]:
    if isinstance(params, Mapping):
        for name in params:
            if not isinstance(name, str) or not name or not _is_text(name):
                raise TypeError(f"{label}: names of params must be non-empty strings of valid Unicode; got {name!r}")
        return list(params.items())
    if isinstance(params, np.ndarray):
        return [(None, params)]
    if not isinstance(params, Iterable):
        raise TypeError(f'{label}: "params" of a group must be arrays; got {type(params).__name__}')
    return [(None, array) for array in params]


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # the name contains half of a surrogate pair
        return False
    return True


def _check_keys(label: str, entries: list[Entry]) -> None:
    seen: set[ParamKey] = set()
    for entry in entries:
        if entry.key in seen:
            raise ValueError(f"{label}: names of params must differ; got {entry.key!r} twice")
        seen.add(entry.key)
