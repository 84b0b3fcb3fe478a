"""Public names of the modules, imports at first use, and the error for an unknown name."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from importlib.util import find_spec

import pytest

import fusedstep as fs
from support.interpreters import python

# Public modules, and the packages that they need.
NEEDS = {"search": "optuna", "sklearn": "sklearn", "torch": "torch"}


def packages() -> list[str]:
    """Return the names of all public modules whose requirements are installed."""
    found = []
    for package in ("", *(f"{name}." for name in ("nn",))):
        folder = importlib.import_module(f"fusedstep.{package}".rstrip(".")).__path__
        found += [package + m.name for m in pkgutil.iter_modules(folder) if not package or m.ispkg]
    public = [name for name in found if not any(part.startswith("_") for part in name.split("."))]
    return [name for name in public if name not in NEEDS or find_spec(NEEDS[name])]


@pytest.mark.parametrize("name", packages())
def test_dir_of_a_module_lists_exactly_its_public_names(name: str) -> None:
    """`dir()` equals the sorted `__all__`. No name in it begins with an underscore."""
    module = importlib.import_module(f"fusedstep.{name}")
    assert dir(module) == sorted(module.__all__)
    for each in dir(module):
        assert getattr(module, each) is not None and not each.startswith("_")
    shared = {
        each for each in dir(module) if getattr(getattr(module, each), "__module__", "").startswith("fusedstep._b")
    }
    # `Key` is public, but its module fusedstep._base.random is private.
    assert shared <= {"Key"}, "dir() must not list helpers that the module imports"


def test_dir_of_the_package_lists_every_public_module_except_cli() -> None:
    assert set(dir(fs)) == {*fs.__all__, "sklearn", "torch", "__version__"}
    assert {name for name in packages() if "." not in name} - {"cli"} <= set(dir(fs))


@pytest.mark.parametrize("name", ["nn", "sklearn", "torch"])
def test_submodule_is_imported_at_its_first_use(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    done = python(f"import sys, fusedstep as fs; a = 'fusedstep.{name}' in sys.modules; print(a, fs.{name}.__name__)")
    assert done.stdout == f"False fusedstep.{name}\n", done.stderr


@pytest.mark.parametrize(
    ("module", "name", "hint"),
    [
        ("", "droput", "; did you mean 'dropout'?"),
        ("", "Adamm", "; did you mean 'Adam'?"),
        ("", "x_y_z", ""),
        (".nn", "Sequental", "; did you mean 'Sequential'?"),
        (".optim", "RMSProp", "; did you mean 'RMSprop'?"),
        (".stopping", "EarlyStoping", "; did you mean 'EarlyStopping'?"),
    ],
)
def test_attribute_error_for_an_unknown_name_suggests_the_most_similar_name(module: str, name: str, hint: str) -> None:
    """If no name is similar, the message suggests no name."""
    with pytest.raises(AttributeError) as caught:
        getattr(importlib.import_module(f"fusedstep{module}"), name)
    assert str(caught.value) == f"module 'fusedstep{module}' has no attribute {name!r}{hint}"


@pytest.mark.parametrize("module", ["fusedstep", "fusedstep.cli"])
def test_version_option_prints_the_version(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"fusedstep {fs.__version__}\n"
