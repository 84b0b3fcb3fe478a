"""Check the includes between the folders of csrc.

The folders must not include each other in a cycle. docs/design.md has a picture of the includes, which must be current.

python .ci/check_includes.py            checks
python .ci/check_includes.py --update   writes the picture
"""

from __future__ import annotations

import re
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/design.md"
INCLUDE = re.compile(r'^#include "(\w+)[/.]', re.MULTILINE)  # "rules.inc" is generated, and includes files of rules/
PICTURE = re.compile(r"```mermaid\n.*?```", re.DOTALL)

Graph = dict[str, set[str]]


def includes(csrc: Path) -> Graph:
    """Return for each folder the folders from which it includes files."""
    graph: Graph = {folder.name: set() for folder in csrc.iterdir() if folder.is_dir()}
    for file in csrc.glob("*/*"):
        graph[file.parent.name] |= set(INCLUDE.findall(file.read_text())) - {file.parent.name}
    return graph


def needed(graph: Graph) -> Graph:
    """Return the graph without implied edges. If a includes b and b includes c, the edge from a to c is implied.

    The graph must have no cycle.
    """

    def reach(folder: str) -> set[str]:
        return graph[folder] | {far for near in graph[folder] for far in reach(near)}

    return {a: {b for b in graph[a] if not any(b in reach(other) for other in graph[a])} for a in graph}


def picture(graph: Graph) -> str:
    edges = [f"  {a} --> {b}" for a in sorted(graph) for b in sorted(needed(graph)[a])]
    return "\n".join(["```mermaid", "flowchart TD", *edges, "```"])


def main() -> int:
    graph = includes(ROOT / "csrc")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        print(f"csrc: folders include each other in a cycle: {' <- '.join(error.args[1])}")
        return 1
    page = PAGE.read_text()
    current = PICTURE.sub(lambda _: picture(graph), page, count=1)
    if "--update" in sys.argv[1:]:
        PAGE.write_text(current)
    elif current != page:
        print(f"{PAGE.relative_to(ROOT)}: the picture is not current; run python .ci/check_includes.py --update")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
