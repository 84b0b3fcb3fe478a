"""The documentation site and the files that describe the project are complete and have no dead links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fusedstep as fs

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [path for path in DOCS.rglob("*.md") if not {"_build", "generated", "auto_gallery"} & {*path.parts}]
PAGES += [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Modules that docs/api/index.md does not list. The names in them are listed with their package, or are on another page.
NOT_LISTED = {
    "fusedstep",
    "fusedstep.cli",
    "fusedstep.nn.activations.catalogue",
    "fusedstep.nn.losses",
    "fusedstep.nn.threads",
    "fusedstep.sklearn.onnx",
    "fusedstep.torch.optimizers",
}


def public_modules() -> set[str]:
    """Return the public modules that define `__all__`. No part of a public name begins with an underscore."""
    source = ROOT / "python"
    listing = [path for path in source.joinpath("fusedstep").rglob("*.py") if "__all__" in path.read_text("utf-8")]
    names = [".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__") for path in listing]
    return {name for name in names if not any(part.startswith("_") for part in name.split("."))}


def test_api_reference_lists_every_public_module() -> None:
    listed = set(re.findall(r"^   (fusedstep\.[\w.]+)$", (DOCS / "api" / "index.md").read_text("utf-8"), re.MULTILINE))
    assert listed == public_modules() - NOT_LISTED


def test_api_reference_lists_every_class_and_function_of_fusedstep() -> None:
    """Each name in `fusedstep.__all__` has a line in docs/api/index.md.

    Only two kinds of names need no line: modules, and names that are also in the `__all__` of one of these modules.
    """
    text = (DOCS / "api" / "index.md").read_text("utf-8")
    modules = [getattr(fs, name) for name in fs.__all__ if type(getattr(fs, name)).__name__ == "module"]
    owned = {name for module in modules for name in module.__all__} | {
        module.__name__.split(".")[1] for module in modules
    }
    missing = [name for name in set(fs.__all__) - owned if f"\n   {name}\n" not in text]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_that_a_page_links_to_exist(page: Path) -> None:
    """Web addresses, and pages that the build of the site generates, are not checked."""
    for link in LINK.findall(page.read_text("utf-8")):
        path = link.partition("#")[0]
        generated = path.startswith("api/generated/") or "auto_gallery/" in path
        if path and "://" not in path and not generated:
            assert (page.parent / path).exists(), link


def test_citation_pyproject_and_changelog_have_the_version_of_the_package() -> None:
    assert f"\nversion: {fs.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f'\nversion = "{fs.__version__}"\n' in (ROOT / "pyproject.toml").read_text("utf-8")
    assert f"\n## {fs.__version__} - " in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_changelog_has_only_headings_of_the_expected_forms() -> None:
    headings = re.findall(r"^(##+ .*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "## Unreleased"
    for heading in headings[1:]:
        assert re.fullmatch(
            r"## \d+\.\d+\.\d+( - \d{4}-\d\d-\d\d)?|### (Added|Changed|Deprecated|Removed|Fixed|Security)", heading
        )


def test_decisions_are_numbered_without_gaps_and_have_a_status() -> None:
    """Each decision about the design is a file in docs/adr. The file name begins with the number of the decision."""
    files = sorted((DOCS / "adr").glob("0*.md"))
    assert [int(file.name[:4]) for file in files] == list(range(1, len(files) + 1))
    for file in files:
        text = file.read_text("utf-8")
        assert text.startswith(f"# {int(file.name[:4])}. ") and "\n**Status.** " in text, file.name
