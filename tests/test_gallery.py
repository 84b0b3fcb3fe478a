"""Every script of the gallery draws its picture, and the numbers that it returns bear out its claim."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1] / "docs" / "gallery"
SCRIPTS = sorted(HERE.glob("[0-9]*.py"))
NUMBER = re.compile(r"\d[\d.,]*(e[-+]\d+)?")

for module in ("sklearn", "matplotlib", "optuna"):
    pytest.importorskip(module)
if not SCRIPTS:
    pytest.skip("the source distribution has no gallery", allow_module_level=True)
sys.path.insert(0, str(HERE))
import make_readme  # noqa: E402

sys.path.pop(0)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(HERE)
    numbers = make_readme.run(script)
    drawn = tmp_path / f"{script.stem}.png"
    assert [drawn] == list(tmp_path.iterdir()) and drawn.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert 5_000 < drawn.stat().st_size < 60_000
    assert eval(make_readme.claim(script), {"__builtins__": {"abs": abs, "min": min, "max": max}}, numbers), numbers
    page = HERE.joinpath("README.md").read_text("utf-8")
    assert without_numbers(make_readme.section(script, numbers)) in without_numbers(page), "run make_readme.py"


def without_numbers(text: str) -> str:
    """Blank every number out: they differ in the last digits from machine to machine."""
    return NUMBER.sub("#", text)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_is_short(script: Path) -> None:
    assert len(script.read_text("utf-8").splitlines()) < 60


def test_the_page_shows_every_picture_and_no_other() -> None:
    page = HERE.joinpath("README.md").read_text("utf-8")
    names = [script.stem for script in SCRIPTS]
    assert re.findall(r"\]\((\w+)\.png\)", page) == names
    assert sorted(picture.stem for picture in HERE.glob("*.png")) == names
