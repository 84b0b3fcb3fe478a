"""Write the modules that import all optimizers and all activations, and the type stubs of the optimizers.

    python python/make_catalogue.py

Run this script after you add a file to python/fusedstep/optim or python/fusedstep/nn/activations. The script writes
the stubs of `fusedstep.torch` only if torch is installed. A test in tests/test_options.py fails if one of the written
files is not up to date.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent / "fusedstep"
CATALOGUES = {"optim/_catalogue.py": "optimizer", "nn/activations/catalogue.py": "activation"}
NAMES = {"Iterator": "collections.abc", "Mapping": "collections.abc", "contextmanager": "contextlib", "Any": "typing",
         "Literal": "typing", "Gradients": "._optimizer", "StepInfo": "._optimizer",
         "Optimizer": "._optimizer", "Directed": "._directions", "ScheduleFree": "._schedule_free",
         "Rate": "._optimizer", "Array": "._params",
         "FusedOptimizer": "._base"}  # fmt: skip


def catalogue(path: str) -> str:
    """Return the text of a module that imports every class of the module's folder."""
    classes = dict(sorted(_classes(PACKAGE / Path(path).parent)))
    lines = [f'"""Every {CATALOGUES[path]} of this folder. python/make_catalogue.py writes this file."""', ""]
    lines += [f"from .{module} import {name}" for name, (module, _) in sorted(classes.items(), key=lambda c: c[1][0])]
    return "\n".join([*lines, "", "__all__ = [", *(f'    "{name}",' for name in classes), "]", ""])


def stub_of_optimizers() -> str:
    """Return the type stub of `fusedstep.optim._catalogue`. Each declared option is an argument of a constructor."""
    registry = importlib.import_module("fusedstep.optim").registry
    bodies = []
    for name, (_, node) in sorted(_classes(PACKAGE / "optim")):
        base = ast.unparse(node.bases[0])
        bodies.append("\n".join([f"class {name}({base}):", _constructor(registry[name]), *_methods(node)]))
    return _module("Types of every optimizer of this folder.", bodies, list(registry))


def stub_of_torch() -> str:
    """Return the type stub of `fusedstep.torch.optimizers`. This module creates its classes when it is imported."""
    registry = importlib.import_module("fusedstep.optim").registry
    module = importlib.import_module("fusedstep.torch.optimizers")
    bodies = []
    for name, kernel in registry.items():
        bases = f"FusedOptimizer, torch.optim.{name}" if kernel.in_torch else "FusedOptimizer"
        lines = [f"class {name}({bases}):", _constructor(getattr(module, name), kernel)]
        if hasattr(kernel, "lookahead"):
            lines += ["    @contextmanager", "    def lookahead(self) -> Iterator[None]: ..."]
        bodies.append("\n".join(lines))
    return _module("Types of every optimizer for torch.", bodies, list(registry), "import torch")


def catalogues() -> dict[Path, str]:
    """Return the text of every catalogue by its path. This function does not import the package."""
    return {PACKAGE / path: catalogue(path) for path in CATALOGUES}


def stubs() -> dict[Path, str]:
    """Return the text of every type stub by its path. The catalogues must be up to date, because they are imported."""
    found = {PACKAGE / "optim/_catalogue.pyi": stub_of_optimizers()}
    if find_spec("torch"):
        found[PACKAGE / "torch/optimizers.pyi"] = stub_of_torch()
    return found


def _classes(folder: Path) -> Iterator[tuple[str, tuple[str, ast.ClassDef]]]:
    """Yield the name, the module and the definition of every public class in the public modules of a folder."""
    for file in sorted(folder.glob("[a-z]*.py")):
        if file.stem != "catalogue":
            for node in ast.parse(file.read_text("utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    yield node.name, (file.stem, node)


def _constructor(cls: Any, kernel: Any = None) -> str:
    """Return the stub of a constructor.

    For an optimizer for torch, `kernel` is the NumPy optimizer with the same name. It determines the annotations.
    """
    lines, by_name = ["    def __init__("], False
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and not by_name:
            lines.append("        *,")
            by_name = True
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        lines.append(f"        {name}: {_annotation(name, parameter, kernel)}{default},")
    first = "        self,"
    return "\n".join([lines[0], first, *lines[1:], "    ) -> None: ..."])


def _annotation(name: str, parameter: inspect.Parameter, kernel: Any) -> str:
    if kernel is None:
        return "Any" if parameter.annotation is parameter.empty else parameter.annotation
    option = kernel.options.get(name)
    if name in ("params", "lr") or (option is None and parameter.default is None):
        return {"lr": "float | torch.Tensor", "clip_norm": "float | None"}.get(name, "Any")
    found: str = type(parameter.default).__name__ if option is None else option.annotation()
    return found if parameter.default is not None or found.endswith("None") else f"{found} | None"


def _methods(node: ast.ClassDef) -> Iterator[str]:
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and not each.name.startswith("_"):
            each.body = [ast.Expr(ast.Constant(...))]
            yield "\n".join(f"    {line}" for line in ast.unparse(each).splitlines())


def _module(text: str, bodies: list[str], names: list[str], *imports: str) -> str:
    body = "\n\n".join(bodies)
    used = {name: home for name, home in NAMES.items() if re.search(rf"\b{name}\b", body)}
    homes = {home: ", ".join(sorted(name for name in used if used[name] == home)) for home in sorted(used.values())}
    lines = [f"from {home} import {found}" for home, found in homes.items()]
    lines = [line for line in lines if " ." not in line] + [*imports] + [line for line in lines if " ." in line]
    head = "\n".join([f'"""{text} python/make_catalogue.py writes this file."""', "", *lines])
    return f"{head}\n\n__all__ = [\n" + "".join(f'    "{name}",\n' for name in names) + f"]\n\n{body}\n"


if __name__ == "__main__":
    for generated in (catalogues, stubs):
        for path, text in generated().items():
            if not path.exists() or path.read_text("utf-8") != text:
                path.write_text(text, encoding="utf-8")
                print(f"written: {path.relative_to(PACKAGE)}")
