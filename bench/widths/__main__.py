"""`python -m bench.widths`: run the study of narrow formats, print its results, or print the times of the formats."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import outcome, parts
from .study import SEEDS, study
from .variants import REFERENCE, VARIANTS

KEPT = Path(__file__).parents[1] / "results" / "widths.json"


def show(document: dict[str, Any]) -> int:
    """Print the losses and the comparison of the 8-bit codes.

    Return 1 if a weak variant is within the margin, and 0 otherwise. A weak variant is one that must be outside the
    margin. If it is within, the study cannot detect errors.
    """
    too_weak = False
    for what in ("digits", "text"):
        losses = document["losses"][what]
        reference = losses[REFERENCE.name]
        print(f"\n{what}: float32 " + ", ".join(f"{k} {sum(v) / len(v):.4f}" for k, v in reference.items()))
        for variant in VARIANTS[1:]:
            own = losses[variant.name]
            parts = [(k, outcome.difference(own[k], reference[k])) for k in reference]
            within = outcome.is_within(own, reference)
            too_weak |= within and variant.weak
            columns = "  ".join(f"{k} {d.mean:+.2%} +- {d.error:.2%}" for k, d in parts)
            print(f"  {variant.name:38}{columns}  {'within' if within else 'OUTSIDE'}")
    show_codes(document)
    return int(too_weak)


def show_codes(document: dict[str, Any]) -> None:
    """Print the comparison of the 8-bit codes."""
    print("\ncodes of 8 bits")
    reference = document["losses"]["digits"][REFERENCE.name]["held_out"][: SEEDS["codes"]]
    for name, own in document["losses"]["codes"].items():
        d = outcome.difference(own["held_out"], reference)
        print(f"  {name:38}digits, held_out {d.mean:+.2%} +- {d.error:.2%}")
    for what, errors in document["errors"].items():
        for name, found in errors.items():
            columns = "  ".join(f"{k} {v:.2e}" for k, v in found.items())
            print(f"  {what:7} {name:38}{columns}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Return 1 if a weak variant is within the margin, and 0 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m bench.widths", description="The study of narrow formats.")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="number of one-thread processes (%(default)s)")
    parser.add_argument("--json", type=Path, default=KEPT, metavar="FILE", help="the file of results (%(default)s)")
    parser.add_argument("--parts", action="store_true", help="only print the time that each format adds to a step")
    parser.add_argument("--show", action="store_true", help="only print the results in FILE")
    args = parser.parse_args(argv)
    if args.parts:
        print("\n".join(parts.table()))
        return 0
    if not args.show:
        args.json.write_text(json.dumps(study(args.jobs), indent=1) + "\n", "utf-8")
    return show(json.loads(args.json.read_text("utf-8")))


if __name__ == "__main__":
    sys.exit(main())
