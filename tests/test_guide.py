"""The guide and the page on PyTorch run from first to last line, and print what they say that they print."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?")


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run in an empty folder, on one thread."""
    threadpoolctl = pytest.importorskip("threadpoolctl")
    monkeypatch.chdir(tmp_path)
    with threadpoolctl.threadpool_limits(1):
        yield


def run_blocks(page: str, at_least: int, capsys: pytest.CaptureFixture[str]) -> None:
    text = (DOCS / page).read_text("utf-8")
    blocks = BLOCK.findall(text)
    assert len(blocks) == text.count("```python") >= at_least
    names: dict[str, object] = {"__name__": "guide"}
    for code, promised in blocks:
        exec(code, names)
        printed = capsys.readouterr().out
        assert NUMBER.sub("#", printed) == NUMBER.sub("#", promised), code
        for found, said in zip(NUMBER.findall(printed), NUMBER.findall(promised), strict=True):
            np.testing.assert_allclose(float(found), float(said), rtol=0.3, atol=0.03, err_msg=code)


def test_the_guide(alone: None, capsys: pytest.CaptureFixture[str]) -> None:
    for module in ("sklearn", "matplotlib", "optuna", "scipy"):
        pytest.importorskip(module)
    run_blocks("guide.md", 9, capsys)


def test_the_page_on_torch(torch: Any, alone: None, capsys: pytest.CaptureFixture[str]) -> None:
    run_blocks("torch.md", 5, capsys)
