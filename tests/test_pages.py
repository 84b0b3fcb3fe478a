"""Every block of Python code in the documentation runs. It prints the text that the page shows below it, if any."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?")
# For each page: the number of code blocks that it has at least, and the packages that it needs.
PAGES = {
    "start.md": (3, ()),
    "guide.md": (9, ("sklearn", "matplotlib", "optuna", "scipy")),
    "tables.md": (1, ("sklearn", "pandas", "safetensors", "matplotlib", "rich")),
    "api/index.md": (1, ()),
    "howto/sklearn.md": (3, ("sklearn",)),
    "howto/save.md": (2, ("safetensors",)),
    "howto/narrow.md": (3, ("ml_dtypes",)),
}
# For each page that needs PyTorch: the number of code blocks that it has at least.
TORCH_PAGES = {"torch.md": 5}
# Other files test the code of these pages: test_integrations_docs, test_distributed_checkpoints and test_dask.
ELSEWHERE = {"integrations.md", "distributed.md"}


def test_every_documentation_page_with_python_code_has_a_test() -> None:
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if "_build" not in path.parts}
    with_code = {page for page in pages if "```python" in (DOCS / page).read_text("utf-8")}
    assert with_code == PAGES.keys() | TORCH_PAGES.keys() | ELSEWHERE


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the test in an empty folder, with one thread for the BLAS library and for OpenMP."""
    threadpoolctl = pytest.importorskip("threadpoolctl")
    monkeypatch.chdir(tmp_path)
    with threadpoolctl.threadpool_limits(1):
        yield


def assert_blocks_print_their_text(page: str, at_least: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Run the blocks of a page in order. The page must have `at_least` blocks or more.

    If a text follows a block, the block must print this text. A number may differ by 30% of its size plus 0.03.
    """
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


@pytest.mark.filterwarnings("ignore:Maximum iterations")  # some fits end at max_iter
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
