"""The guide runs from its first line to its last, and prints what it says that it prints."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

GUIDE = Path(__file__).parents[1] / "docs" / "guide.md"
BLOCK = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?")

for module in ("sklearn", "matplotlib", "optuna", "scipy", "threadpoolctl"):
    pytest.importorskip(module)


def test_every_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from threadpoolctl import threadpool_limits

    monkeypatch.chdir(tmp_path)
    text = GUIDE.read_text("utf-8")
    blocks = BLOCK.findall(text)
    assert len(blocks) == text.count("```python") > 8
    names: dict[str, object] = {"__name__": "guide"}
    with threadpool_limits(1):
        for code, promised in blocks:
            exec(code, names)
            printed = capsys.readouterr().out
            assert NUMBER.sub("#", printed) == NUMBER.sub("#", promised), code
            for found, said in zip(NUMBER.findall(printed), NUMBER.findall(promised), strict=True):
                np.testing.assert_allclose(float(found), float(said), rtol=0.3, atol=0.03, err_msg=code)
