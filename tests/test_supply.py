"""The metadata of the installed package has the correct requirements, licence and bill of materials."""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import fusedstep as fs

ROOT = Path(__file__).parents[1]
FILES = importlib.metadata.files("fusedstep") or []


def bill_of_materials() -> dict[str, Any]:
    (file,) = (f for f in FILES if f.match("*.dist-info/sboms/*.cdx.json"))
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def test_package_requires_only_numpy() -> None:
    """The requirements of the extras are not checked."""
    needs = importlib.metadata.requires("fusedstep") or []
    always = [need for need in needs if "extra ==" not in need]
    assert [re.match(r"[\w-]+", need)[0] for need in always] == ["numpy"]  # type: ignore[index]


def test_licence_and_bill_of_materials_are_installed() -> None:
    (licence,) = (f for f in FILES if f.match("*.dist-info/licenses/LICENSE"))
    assert licence.read_text("utf-8") == ROOT.joinpath("LICENSE").read_text("utf-8")
    bill = bill_of_materials()
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["version"] == fs.__version__
    # Every @name@ of csrc/sbom.cdx.json.in is replaced. In the bill, @ stands only before versions in package URLs.
    assert "@" not in json.dumps(bill).replace("@" + fs.__version__, "").replace("pybind11@", "")
    assert importlib.metadata.version("fusedstep") == fs.__version__


def test_bill_of_materials_lists_every_library_that_the_sources_include() -> None:
    """The C++ sources include the headers of a library as `<library/...>`. `<sys/...>` belongs to the system."""
    sources = [*ROOT.glob("csrc/*/*.h"), *ROOT.glob("csrc/*/*.cpp")]
    assert len(sources) > 30
    included = {name for path in sources for name in re.findall(r"#\s*include <(\w+)/", path.read_text("utf-8"))}
    assert included - {"sys"} <= {part["name"] for part in bill_of_materials()["components"]}
