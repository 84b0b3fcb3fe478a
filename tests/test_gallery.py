"""Every page of the gallery has a title, a formula, a picture and claims. The claims are `assert` statements.

The tests run the quick pages. ``nox -s docs`` runs all pages. A claim that does not hold stops the build.
"""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parents[1] / "docs" / "gallery"
PAGES = sorted(HERE.glob("[0-9]*.py"))
QUICK = ("18", "21", "27", "28", "31", "43", "44", "51", "52", "61", "63")  # together about ten seconds of one core

for module in ("sklearn", "matplotlib", "optuna", "scipy", "threadpoolctl"):
    pytest.importorskip(module)
if not PAGES:
    pytest.skip("the source distribution has no gallery", allow_module_level=True)


@pytest.fixture
def plain_style(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let matplotlib draw without a window, and NumPy use one BLAS thread. Restore the settings after the test."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    import matplotlib
    import matplotlib.pyplot as plt
    import threadpoolctl

    monkeypatch.syspath_prepend(HERE)
    plt.switch_backend("Agg")
    with matplotlib.rc_context(), threadpoolctl.threadpool_limits(1):
        yield plt
        plt.close("all")


@pytest.mark.thread_unsafe
@pytest.mark.parametrize("page", [page for page in PAGES if page.name[:2] in QUICK], ids=lambda page: page.stem)
def test_claims_of_a_quick_page_hold_and_its_picture_has_a_title_and_a_band_or_error_bars(
    page: Path, plain_style: Any
) -> None:
    runpy.run_path(str(page))  # the claims are `assert` statements
    panels = [axes for number in plain_style.get_fignums() for axes in plain_style.figure(number).axes]
    assert panels and any(axes.get_title() for axes in panels)
    assert any(axes.collections or axes.containers for axes in panels), "the picture must have a band or error bars"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_has_title_formula_picture_and_claims(page: Path) -> None:
    """The title is underlined, and the formula is a code block.

    The code draws with `subplots`, and computes 95% intervals with `interval`.
    """
    tree = ast.parse(page.read_text("utf-8"))
    title, rule, *_ = (ast.get_docstring(tree) or "").splitlines()
    assert set(rule) == {"="} and len(rule) == len(title)
    assert "\n.. code-block:: text\n" in (ast.get_docstring(tree) or "")
    claims = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert claims and {"subplots", "interval"} <= names
    assert any(re.search(r"title=", ast.unparse(node)) for node in ast.walk(tree) if isinstance(node, ast.Call))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_repeats_its_comparison_at_least_five_times(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that does not set its own number of seeds or splits imports the five seeds `SEEDS` from `shared`."""
    monkeypatch.syspath_prepend(HERE)
    text = page.read_text("utf-8")
    own = [int(n) for n in re.findall(r"\b(?:RUNS|SEEDS|SPLITS|TESTING)\b.*?range\((\d+)\)", text)]
    own += [int(n) for n in re.findall(r"StratifiedShuffleSplit\((\d+)", text)]
    own += [int(n) for n in re.findall(r"for seed in range\((\d+)\)", text)]
    assert all(n >= 5 for n in own)
    assert own or re.search(r"from shared import .*SEEDS", text)
