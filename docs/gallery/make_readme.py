"""Run every script of the gallery, here, and write README.md from their docstrings and the numbers they return.

A script's docstring holds, as paragraphs: the title, the formula (indented), two sentences whose {fields} are the names
that `main` returns, where a claim does not show a line "Finding: ...", and last what the tests check of the numbers,
"Checked: `...`".
"""

from __future__ import annotations

import ast
import os
import runpy
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

HERE = Path(__file__).parent
HEAD = """# Gallery

One idea a picture, on real data, with the numbers of the run that drew it. Where a claim of the textbooks does not show
on these data, it says "Finding"; what stands behind "Checked" is checked by the tests, which run every script.

`pip install '.[all]' && python docs/gallery/make_readme.py` writes this page and all pictures anew; a script by itself,
such as `python docs/gallery/{first}`, draws its picture into the current directory.

{contents}
"""


def scripts() -> list[Path]:
    """Return the scripts in the order of the page."""
    return sorted(HERE.glob("[0-9]*.py"))


def paragraphs(script: Path) -> list[str]:
    """Return title, formula and text of a script."""
    text = ast.get_docstring(ast.parse(script.read_text("utf-8"))) or ""
    return [part for part in text.split("\n\n") if part]


def claim(script: Path) -> str:
    """Return what must hold of the numbers of a script, as an expression."""
    _, found, expression = paragraphs(script)[-1].partition("Checked: ")
    if not found:
        raise ValueError(f"{script.name}: the docstring must end in a paragraph `Checked: ...`")
    return " ".join(expression.split()).strip("`.")


def section(script: Path, numbers: dict[str, Any]) -> str:
    """Return the part of the page that shows a script."""
    title, formula, *text = paragraphs(script)
    text = [" ".join(part.format(**numbers).split()) for part in text]
    return "\n\n".join(
        [
            f"## {title.rstrip('.')}",
            f"```text\n{textwrap.dedent(formula)}\n```",
            f"![{title.rstrip('.')}]({script.stem}.png)",
            *text,
            f"Drawn by [{script.name}]({script.name}).\n",
        ]
    )


def head() -> str:
    """Return the beginning of the page, with its contents."""
    titles = {script: paragraphs(script)[0].rstrip(".") for script in scripts()}
    contents = "\n".join(f"- [{title}](#{anchor(title)})" for title in titles.values())
    return HEAD.format(first=scripts()[0].name, contents=contents)


def anchor(title: str) -> str:
    """Return the name that a heading has in a link."""
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c in "-_")


def run(script: Path) -> dict[str, Any]:
    """Let a script draw its picture into the current directory; return its numbers."""
    with threadpool_limits(1):  # products of matrices this small only lose by a second thread
        numbers: dict[str, Any] = runpy.run_path(str(script))["main"]()
    return numbers


def main(names: list[str]) -> None:
    """Draw all pictures and write the page, or draw and print only what is named."""
    os.chdir(HERE)
    sections = []
    for script in [Path(name) for name in names] or scripts():
        start = time.perf_counter()
        sections.append(section(script, run(script)))
        print(f"{script.name}: {time.perf_counter() - start:.1f} s")
    if names:
        print(*sections, sep="\n")
    else:
        Path("README.md").write_text("\n".join([head(), *sections]), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
