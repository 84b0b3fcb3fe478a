"""Every block of code in docs/integrations.md runs and prints the text below the block."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from support.integrations import package

PAGE = (Path(__file__).parents[1] / "docs" / "integrations.md").read_text("utf-8")
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
SECTIONS = dict(SECTION.findall(PAGE))
NEEDS = {  # the packages that the code of each section imports
    "skops": ["skops"],
    "MLflow": ["mlflow", "skops"],
    "ONNX": ["skl2onnx", "onnxruntime"],
    "Lightning": ["torch", "lightning"],
    "Hugging Face: Trainer": ["torch", "transformers", "accelerate"],
    "Hugging Face: accelerate": ["torch", "accelerate"],
    "Stable-Baselines3": ["torch", "stable_baselines3"],
    "skorch": ["torch", "skorch"],
    "torch.compile": ["torch"],
}


def test_every_section_of_the_page_is_tested() -> None:
    assert SECTIONS.keys() == NEEDS.keys() and PAGE.count("```python") == len(NEEDS)


@pytest.mark.filterwarnings("default")  # warnings of the packages in NEEDS are not errors
@pytest.mark.parametrize("title", NEEDS)
def test_each_block_of_code_prints_the_text_below_it(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for name in NEEDS[title]:
        package(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    ((code, promised),) = BLOCK.findall(SECTIONS[title])
    exec(compile(code, title, "exec"), {"__name__": "page"})
    printed = capsys.readouterr().out  # it may contain dicts of metrics, which are not on the page
    assert [line for line in printed.splitlines() if not line.startswith("{")] == promised.splitlines()
