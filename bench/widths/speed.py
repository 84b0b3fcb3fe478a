"""`python -m bench.widths.speed`: times of steps in every width, in one interleaved run.

Ours in the NumPy API and, for 16-bit parameters, torch's fused AdamW, and the loop that keeps float32 master weights by
hand. Each line has the ratio to our float32 step with its 95% interval, and the ratio of the bytes that must move.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fusedstep as fs
from fusedstep import _core
from fusedstep._bench.harness import Sampling, Timing, measure, ratio_interval

OPTIONS: dict[str, Any] = {"lr": 1e-4, "weight_decay": 0.01}
FLOAT32 = "fusedstep float32"
KEPT = {"master_weights": True}
#: Name -> dtype of parameter and gradient, options, bytes per element that must move.
WIDTHS: dict[str, tuple[str, dict[str, Any], float]] = {
    FLOAT32: ("float32", {}, 28),
    "bfloat16 states": ("float32", {"state_dtype": "bfloat16"}, 20),
    "uint8 states": ("float32", {"state_dtype": "uint8"}, 16),
    "bfloat16 + low bits, float32 states": ("bfloat16", KEPT, 26),
    "bfloat16 + low bits, bfloat16 states": ("bfloat16", {**KEPT, "state_dtype": "bfloat16"}, 18),
    "bfloat16 + low bits, uint8 states": ("bfloat16", {**KEPT, "state_dtype": "uint8"}, 14),
    "bfloat16": ("bfloat16", {}, 14),
    "float16": ("float16", {}, 14),
}
OTHERS = ("bitsandbytes", "torchao", "deepspeed")


class Step:
    """Something that steps; for the harness."""

    refill = None

    def __init__(self, step: Callable[[], object]) -> None:
        self.step = step


def ours(width: str, n: int) -> Step:
    """Return our step of one tensor."""
    import ml_dtypes

    dtype, options, _ = WIDTHS[width]
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    rng = np.random.default_rng(0)
    p, g = ((rng.standard_normal(n, np.float32) * 0.1).astype(kind) for _ in range(2))
    optimizer = fs.AdamW([p], **OPTIONS, **options)
    return Step(lambda: optimizer.step([g]))


def theirs(dtype: str, n: int) -> Step:
    """Return torch's fused step of one tensor."""
    import torch

    p = torch.nn.Parameter((torch.randn(n) * 0.1).to(getattr(torch, dtype)))
    p.grad = (torch.randn(n) * 0.1).to(p.dtype)
    return Step(torch.optim.AdamW([p], fused=True, **OPTIONS).step)


def by_hand(n: int) -> Step:
    """Return torch's fused float32 step of a bfloat16 parameter: gradient in, parameter out, by copies."""
    import torch

    p = torch.nn.Parameter((torch.randn(n) * 0.1).bfloat16())
    g = (torch.randn(n) * 0.1).bfloat16()
    master = torch.nn.Parameter(p.detach().float())
    wide = master.grad = torch.empty_like(master)
    optimizer = torch.optim.AdamW([master], fused=True, **OPTIONS)

    def step() -> None:
        with torch.no_grad():
            wide.copy_(g)
            optimizer.step()
            p.copy_(master)

    return Step(step)


def offloaded(n: int) -> Step:
    """Return OffloadedOptimizer's step of a bfloat16 parameter in the CPU's memory."""
    import torch

    from fusedstep.torch import AdamW, OffloadedOptimizer

    p = torch.nn.Parameter((torch.randn(n) * 0.1).bfloat16())
    g = (torch.randn(n) * 0.1).bfloat16()
    optimizer: Any = OffloadedOptimizer(AdamW, [p], **OPTIONS)

    def step() -> None:
        p.grad = g
        optimizer.step()

    return Step(step)


def runners(n: int) -> dict[str, Step]:
    """Return all implementations."""
    made = {width: ours(width, n) for width in WIDTHS}
    if importlib.util.find_spec("torch"):
        made |= {f"torch fused {dtype}": theirs(dtype, n) for dtype in ("float32", "bfloat16", "float16")}
        made |= {"torch, float32 master by hand": by_hand(n), "OffloadedOptimizer": offloaded(n)}
    return made


def lines_of(timings: dict[str, Timing]) -> list[dict[str, Any]]:
    """Return a line for each implementation."""
    base = timings[FLOAT32].samples
    return [
        {
            "name": name,
            "ms": timing.median * 1e3,
            "ratio": ratio_interval(timing.samples, base),
            "bytes": WIDTHS[name][2] / 28 if name in WIDTHS else None,
        }
        for name, timing in timings.items()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.widths.speed", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--elements", type=float, default=5e7, metavar="N", help="of the one tensor (%(default)g)")
    parser.add_argument("--seconds", type=float, default=60, metavar="S", help="of measuring (%(default)g)")
    parser.add_argument("--isa", choices=_core.available_isas(), help="of ours; the best by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the lines")
    args = parser.parse_args(argv)
    if args.isa:
        fs.set_isa(args.isa)
    made = runners(int(args.elements))
    timings = measure(made, Sampling(budget_s=args.seconds, min_rounds=5), before=lambda name: None)
    lines = lines_of(timings)
    print(f"AdamW, one tensor of {int(args.elements):,}, {_core.isa()}, {fs.num_threads()} threads")
    for line in lines:
        ratio, low, high = line["ratio"]
        moved = f"{line['bytes']:.2f}" if line["bytes"] else "-"
        print(f"  {line['name']:40}{line['ms']:9.2f} ms  {ratio:.2f} [{low:.2f}, {high:.2f}]  bytes {moved}")
    for other in OTHERS:
        if importlib.util.find_spec(other) is None:
            print(f"  {other:40}not installed")
    if args.json:
        args.json.write_text(json.dumps(lines, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
