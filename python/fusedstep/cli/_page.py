"""The report of a run, as one HTML page without links to other files or to the internet."""

from __future__ import annotations

import base64
import html
from pathlib import Path

from .._base.files import replacing

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 68rem; padding: 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.2rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #8886; padding: .25rem .7rem .25rem 0; text-align: left; vertical-align: top; }
td { overflow-wrap: break-word; } th { white-space: nowrap; }
.number { text-align: right; white-space: nowrap; } .wide { overflow-x: auto; }
img { background: #fff; height: auto; min-width: 44rem; max-width: 100%; }
pre { background: #8882; overflow-x: auto; padding: .7rem; white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 40rem) { body { font-size: 14px; padding: .6rem; } }
"""


class Page:
    """An HTML page. Each method except `write` adds a part at the end."""

    def __init__(self, title: str) -> None:
        self._title = html.escape(title)
        self._parts = [f"<h1>{self._title}</h1>"]

    def heading(self, text: str) -> None:
        """Add the heading of a section."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def code(self, text: str) -> None:
        """Add a command."""
        self._parts.append(f"<pre>{html.escape(text)}</pre>")

    def facts(self, rows: list[tuple[str, str]]) -> None:
        """Add a table of names and values."""
        lines = "".join(f"<tr><th>{html.escape(a)}</th><td>{html.escape(b)}</td></tr>" for a, b in rows)
        self._parts.append(f'<div class="wide"><table>{lines}</table></div>')

    def table(self, header: list[str], rows: list[list[str]], texts: int = 1) -> None:
        """Add a table. The first `texts` columns are texts, the other columns are numbers."""
        lines = []
        for tag, row in [("th", header), *(("td", row) for row in rows)]:
            kinds = ("" if i < texts else ' class="number"' for i in range(len(row)))
            cells = (f"<{tag}{kind}>{html.escape(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True))
            lines.append(f"<tr>{''.join(cells)}</tr>")
        self._parts.append(f'<div class="wide"><table>{"".join(lines)}</table></div>')

    def picture(self, path: Path, what: str) -> None:
        """Embed a PNG file in the page. If the file does not exist, add nothing."""
        if path.exists():
            data = base64.b64encode(path.read_bytes()).decode()
            self._parts.append(
                f'<div class="wide"><img alt="{html.escape(what)}" src="data:image/png;base64,{data}"></div>'
            )

    def write(self, path: Path) -> None:
        """Write the page."""
        text = (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{self._title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
            + "\n".join(self._parts)
            + "\n</body>\n</html>\n"
        )
        with replacing(path) as temporary:
            Path(temporary).write_text(text, encoding="utf-8")
