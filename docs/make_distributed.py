"""Write the table of wrappers and features into docs/distributed.md. The contents come from tests/support/matrix.py."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).parent
PAGE = DOCS / "distributed.md"
BEGIN, END = "<!-- matrix: written by `python docs/make_distributed.py` -->\n", "<!-- matrix: end -->"


def table() -> str:
    """Return the table. A cell contains the result and, in brackets, the pytest ID of its test."""
    sys.path.insert(0, str(DOCS.parent / "tests"))
    from support import matrix

    lines = [f"| | {' | '.join(matrix.WRAPPERS)} |", "|---" * (1 + len(matrix.WRAPPERS)) + "|"]
    for feature in matrix.FEATURES:
        cells = [
            f"{'refused' if (wrapper, feature) in matrix.REFUSED else 'right'} `[{wrapper}-{feature}-*]`"
            for wrapper in matrix.WRAPPERS
        ]
        lines.append(f"| `{feature}` | {' | '.join(cells)} |")
    refused: dict[tuple[str, str], list[str]] = {}
    for (wrapper, feature), why in matrix.REFUSED.items():
        refused.setdefault((wrapper, why), []).append(f"`{feature}`")
    reasons = [f"{wrapper} with {' or '.join(features)}: {why}." for (wrapper, why), features in refused.items()]
    lines += ["", "`refused` means that fusedstep raises an error. The reasons are:", ""]
    return "\n".join([*lines, *(f"- {reason}" for reason in reasons)]) + "\n"


def written(page: str) -> str:
    """Return the page with the new table between the two markers."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
