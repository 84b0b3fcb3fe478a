"""Compare the built site with the package: every public name has a page. `nox -s docs` calls it after the build."""

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
    """Return every public name of the package and of its modules, under the name that has the page."""
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
    """Return the object of a dotted name."""
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


def missing(html: Path) -> list[str]:
    """Return the public names that have no page, or whose page does not exist."""
    inventory = InventoryFile.loads((html / "objects.inv").read_bytes(), uri="")
    found = {
        name: item.uri.partition("#")[0]
        for kind, items in inventory.data.items()
        if kind.startswith("py:")
        for name, item in items.items()
    }
    return [name for name in public_names() if name not in found or not (html / found[name]).is_file()]


def main(html: str) -> int:
    """Print the names without a page; the status is 1 if there are any."""
    names = missing(Path(html))
    print("\n".join(f"{name} has no page" for name in names) or f"{len(public_names())} public names have a page")
    return bool(names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
