"""Settings of the documentation site; `nox -s docs` builds it."""

from __future__ import annotations

import importlib
import re
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

project = "fusedstep"
copyright = "the fusedstep maintainers"
version = release = installed("fusedstep")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery"]
templates_path = ["_templates"]
suppress_warnings = ["misc.highlighting_failure"]  # for mermaid diagrams, which only the host of the repository draws
highlight_language = "text"  # for code blocks that name no language: formulas
default_role = "py:obj"  # `name` in a docstring becomes a link if the name has a page
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# Sphinx makes a page for each name in a module's __all__. A new public name needs no line in this file.
autosummary_generate = True
autosummary_ignore_module_all = False
autosummary_imported_members = True
autodoc_typehints = "none"  # numpydoc shows the types that the docstrings state
autodoc_inherit_docstrings = True
numpydoc_show_class_members = False  # the template of a class page lists the members
numpydoc_class_members_toctree = False


API = Path(__file__).with_name("api").joinpath("index.md").read_text("utf-8")
LISTED = re.findall(r"^   ([\w.]+)$", API, re.MULTILINE)
PAGES = [f"fusedstep.{name}" for name in LISTED if not name.startswith("fusedstep.")]  # functions, not modules


def documented_modules() -> list[str]:
    """Return the modules that api/index.md lists."""
    return [name for name in LISTED if name.startswith("fusedstep.")]


def repeated_names() -> dict[str, str]:
    """Return a dict for the objects that are public in two modules: second name -> first name, which has the page."""
    pages: dict[int, str] = {}
    repeated: dict[str, str] = {}
    for module in documented_modules():
        for name in importlib.import_module(module).__all__:
            page = pages.setdefault(id(getattr(importlib.import_module(module), name)), f"{module}.{name}")
            if page != f"{module}.{name}":
                repeated[f"{module}.{name}"] = page
    return repeated


def repeated_by_module() -> dict[str, dict[str, str]]:
    """Return the names of `repeated_names` by module: module -> second name without the module -> first name.

    The template of a module page uses this result.
    """
    found: dict[str, dict[str, str]] = {}
    for name, page in repeated_names().items():
        module, _, last = name.rpartition(".")
        found.setdefault(module, {})[last] = page
    return found


autosummary_context = {"repeated": repeated_by_module()}

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"/\d\d_",
    "ignore_pattern": r"shared\.py$",
    "within_subsection_order": "FileNameSortKey",
    "reset_modules": ("matplotlib",),
    "remove_config_comments": True,
    "show_signature": False,
    "min_reported_time": 5,
}

html_theme = "pydata_sphinx_theme"
html_title = "fusedstep"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 7,
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {page: [] for page in ("start", "guide", "benchmarks", "numerics", "reliability", "changelog")}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def skip_field_aliases(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Skip the fields of named tuples, because the docstring of the class describes them."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app: Any) -> None:
    """Connect the handlers of this file to Sphinx."""
    app.connect("autodoc-skip-member", skip_field_aliases)
