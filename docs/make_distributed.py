"""Write the table of docs/distributed.md from tests/support/matrix.py: wrappers and features, with the test of each."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).parent
PAGE = DOCS / "distributed.md"
BEGIN, END = "<!-- matrix: written by `python docs/make_distributed.py` -->\n", "<!-- matrix: end -->"


def table() -> str:
    """Return the table. A cell has the result, and in brackets the parameters of its test, for all rules."""
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
    lines += ["", "`refused` means that fusedstep raises an error with a message. The reasons:", ""]
    return "\n".join([*lines, *(f"- {reason}" for reason in reasons)]) + "\n"


def written(page: str) -> str:
    """Return the page with the table in its place."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
