"""Write the table of docs/distributed.md from tests/support/matrix.py: wrappers, features and tests."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).parent
PAGE = DOCS / "distributed.md"
BEGIN, END = "<!-- matrix: written by `python docs/make_distributed.py` -->\n", "<!-- matrix: end -->"


def table() -> str:
    """Return the table; a cell is a test's name between brackets, for all rules."""
    sys.path.insert(0, str(DOCS.parent / "tests"))
    from support import matrix

    lines = [f"| | {' | '.join(matrix.WRAPPERS)} |", "|---" * (1 + len(matrix.WRAPPERS)) + "|"]
    for feature in matrix.FEATURES:
        cells = [
            f"{'refused' if (wrapper, feature) in matrix.REFUSED else 'right'} `[{wrapper}-{feature}-*]`"
            for wrapper in matrix.WRAPPERS
        ]
        lines.append(f"| `{feature}` | {' | '.join(cells)} |")
    reasons = {f"{wrapper}: {why}." for (wrapper, _), why in matrix.REFUSED.items()}
    return "\n".join([*lines, "", "Refused, with a message that says so. " + " ".join(sorted(reasons))]) + "\n"


def written(page: str) -> str:
    """Return the page with the table in its place."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
