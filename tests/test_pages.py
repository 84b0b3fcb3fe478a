"""Every block of Python code in the documentation runs, and prints the text below it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?")
# For each page: the least number of its code blocks, and the packages that it needs.
PAGES = {
    "start.md": (3, ()),
    "guide.md": (9, ("sklearn", "matplotlib", "optuna", "scipy")),
    "tables.md": (1, ("sklearn", "pandas", "safetensors", "matplotlib", "rich")),
    "api/index.md": (1, ()),
    "howto/sklearn.md": (3, ("sklearn",)),
    "howto/save.md": (2, ("safetensors",)),
    "howto/narrow.md": (3, ("ml_dtypes",)),
}
TORCH_PAGES = {"torch.md": 5}
# Other tests run these pages: test_integrations_docs, test_distributed_checkpoints and test_dask.
ELSEWHERE = {"integrations.md", "distributed.md"}


def test_every_documentation_page_with_python_code_has_a_test() -> None:
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if "_build" not in path.parts}
    with_code = {page for page in pages if "```python" in (DOCS / page).read_text("utf-8")}
    assert with_code == PAGES.keys() | TORCH_PAGES.keys() | ELSEWHERE


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run in an empty folder, on one thread."""
    threadpoolctl = pytest.importorskip("threadpoolctl")
    monkeypatch.chdir(tmp_path)
    with threadpoolctl.threadpool_limits(1):
        yield


def assert_blocks_print_their_text(page: str, at_least: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Run the blocks of a page in order. Each block must print the text below it. Numbers may differ by 30%."""
    text = (DOCS / page).read_text("utf-8")
    blocks = BLOCK.findall(text)
    assert len(blocks) == text.count("```python") >= at_least
    names: dict[str, object] = {"__name__": "page"}
    for code, promised in blocks:
        exec(code, names)
        printed = capsys.readouterr().out
        if not promised:
            continue
        assert NUMBER.sub("#", printed) == NUMBER.sub("#", promised), code
        for found, said in zip(NUMBER.findall(printed), NUMBER.findall(promised), strict=True):
            np.testing.assert_allclose(float(found), float(said), rtol=0.3, atol=0.03, err_msg=code)


@pytest.mark.filterwarnings("ignore:Maximum iterations")  # fits that end at max_iter, as the pages say
@pytest.mark.parametrize("page", PAGES)
def test_python_code_of_a_page_prints_the_text_that_the_page_shows(
    page: str, alone: None, capsys: pytest.CaptureFixture[str]
) -> None:
    at_least, needs = PAGES[page]
    for name in needs:
        pytest.importorskip(name)
    assert_blocks_print_their_text(page, at_least, capsys)


@pytest.mark.parametrize("page", TORCH_PAGES)
def test_python_code_of_a_torch_page_prints_the_text_that_the_page_shows(
    page: str, torch: Any, alone: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_blocks_print_their_text(page, TORCH_PAGES[page], capsys)
