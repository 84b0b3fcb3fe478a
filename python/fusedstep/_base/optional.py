"""Optional packages, which are imported when a function needs them."""

from __future__ import annotations

import importlib
from typing import Any


class MissingPackage(ImportError):
    """An optional package is not installed. The message contains the pip command that installs it."""


def need(module: str, package: str, extra: str = "train") -> Any:
    """Import a module, or raise an error that says how to install it.

    Raises
    ------
    MissingPackage
        If the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != module.split(".")[0]:
            raise  # the package is installed, but one of its dependencies is not
        raise MissingPackage(f"the package {package} is missing: pip install 'fusedstep[{extra}]'") from None
