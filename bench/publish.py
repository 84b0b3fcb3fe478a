"""Write README's table, docs/torch.md's table, docs/benchmarks.md and its pictures from the results of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusedstep._bench import records
from fusedstep._bench.common import missing

from .page import page
from .tables import readme_block, torch_block

ROOT = Path(__file__).resolve().parents[1]
README, PAGE, PICTURES = ROOT / "README.md", ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "benchmarks"
KEPT = ROOT / "bench" / "results" / "reference.json"  # the results that README and docs/benchmarks.md show
TORCH_PAGE = ROOT / "docs" / "torch.md"
BEGIN, END = "<!-- bench: written by `python -m bench report` -->", "<!-- bench: end -->"


def publish(path: Path | None, disturbed: bool = False) -> int:
    """Write all tables, pages and pictures.

    If `path` is given, use the results in this file, and store them in KEPT. Otherwise use the results that are already
    stored in KEPT.

    Raises
    ------
    ValueError
        If the file at `path` contains no results. If other processes disturbed its run, and `disturbed` is False.
    """
    document = records.read(KEPT) if path is None else records.reduce(records.read(path))
    if path is not None and not disturbed:
        refuse_disturbed(path, document)
    texts = {
        README: with_block(README.read_text("utf-8"), readme_block(document)),
        TORCH_PAGE: with_block(TORCH_PAGE.read_text("utf-8"), torch_block(document)),
        PAGE: page(document),
    }
    if path is not None:
        KEPT.parent.mkdir(exist_ok=True)
        texts[KEPT] = records.dump(document)
    for file, text in texts.items():
        file.write_text(text, "utf-8")
    written = list(texts)
    if missing(["matplotlib"]):
        print("The pictures were not written, because matplotlib is not installed")
    else:
        from .pictures import draw

        written += draw(document, PICTURES)
    print("\n".join(f"written: {file.relative_to(ROOT)}" for file in written))
    return 0


def refuse_disturbed(path: Path, document: Mapping[str, Any]) -> None:
    """Raise an error if the machine was disturbed during the run. The error gives the reasons."""
    reasons = document["machine"].get("state", {}).get("disturbed", ["a file without the state of the machine"])
    if reasons:
        raise ValueError(
            f"{path} must be measured on a quiet machine; got: {'; '.join(reasons)}. Nothing was written. Run again "
            "when the machine is quiet. With --disturbed, the results are published, and the tables give the reasons"
        )


def with_block(text: str, block: str) -> str:
    """Return `text` with `block` between the markers BEGIN and END, instead of what was between them."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md and docs/torch.md must have the markers {BEGIN} and {END}; a marker is missing")
    return f"{before}{BEGIN}\n{block}\n{END}{after}"
