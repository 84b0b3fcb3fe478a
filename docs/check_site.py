"""Check that every public name of the package has a page in the built site. `nox -s docs` calls this script."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.util.inventory import InventoryFile

sys.path.insert(0, str(Path(__file__).parent))
from conf import PAGES, documented_modules, repeated_names

sys.path.pop(0)


def public_names() -> list[str]:
    """Return the public names of the package and of its modules.

    If an object has two names, only the name that has a page is returned.
    """
    repeated = repeated_names()
    names = [f"{module}.{name}" for module in documented_modules() for name in importlib.import_module(module).__all__]
    root = importlib.import_module("fusedstep")
    owners = {id(value_of(name)): name for name in names}
    for name in root.__all__:
        value = getattr(root, name)
        if not isinstance(value, ModuleType):
            names.append(owners.get(id(value), f"fusedstep.{name}"))
    return sorted({repeated.get(name, name) for name in names} | set(PAGES))


def value_of(name: str) -> Any:
    """Return the object that has this dotted name."""
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


def missing(html: Path) -> list[str]:
    """Return the public names that are not in the site's inventory, or whose page is not a file."""
    inventory = InventoryFile.loads((html / "objects.inv").read_bytes(), uri="")
    found = {
        name: item.uri.partition("#")[0]
        for kind, items in inventory.data.items()
        if kind.startswith("py:")
        for name, item in items.items()
    }
    return [name for name in public_names() if name not in found or not (html / found[name]).is_file()]


def main(html: str) -> int:
    """Print the names without a page. Return 1 if a name has no page, otherwise 0."""
    names = missing(Path(html))
    print("\n".join(f"{name} has no page" for name in names) or f"{len(public_names())} public names have a page")
    return bool(names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
