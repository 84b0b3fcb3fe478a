"""Measure the peak memory and the time of a training step. The optimizer steps after the backward pass or during it.

``python -m bench.torch.memory`` prints the results for several ways to train, for example AdamW with
``step_in_backward``. Each way runs in its own process. The peak memory is the number that the operating system reports
for this process (``ru_maxrss``).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

# 113M parameters. glibc returns freed blocks of at least 32 MiB to the system, and a float32 matrix has 36 MiB.
LAYERS, WIDTH, ROWS = 12, 3072, 64
MIB = 2**20


def torchs(model: Any) -> Any:
    import torch

    return torch.optim.AdamW(model.parameters())


def ours(model: Any) -> Any:
    import fusedstep.torch

    return fusedstep.torch.AdamW(model.parameters())


def in_backward(model: Any) -> Any:
    import fusedstep.torch

    optimizer = ours(model)
    fusedstep.torch.step_in_backward(optimizer)
    return optimizer


def offloaded(model: Any) -> Any:
    from fusedstep.torch import AdamW, OffloadedOptimizer

    return OffloadedOptimizer(AdamW, model)


def offloaded_in_backward(model: Any) -> Any:
    from fusedstep.torch import step_in_backward

    optimizer = offloaded(model)
    step_in_backward(optimizer)
    return optimizer


#: Name of a way -> its description, the dtype of the model, and the function that makes the optimizer.
WAYS: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "torch": ("torch.optim.AdamW, step()", "float32", torchs),
    "step": ("fusedstep.torch.AdamW, step()", "float32", ours),
    "backward": ("fusedstep.torch.AdamW, step_in_backward", "float32", in_backward),
    "offloaded": ("OffloadedOptimizer(AdamW), step()", "bfloat16", offloaded),
    "offloaded-backward": ("OffloadedOptimizer(AdamW), step_in_backward", "bfloat16", offloaded_in_backward),
}


def train(way: str, steps: int, layers: int, width: int) -> tuple[float, float, float, float]:
    """Train in this process. Return three numbers of MiB, and the median seconds of a training step.

    The numbers of MiB are the peak memory before the first step, the peak memory after the last step, and the size of
    the parameters.
    """
    import torch

    _, dtype, make = WAYS[way]
    torch.manual_seed(0)
    kind = getattr(torch, dtype)
    model = torch.nn.Sequential(*(torch.nn.Linear(width, width, bias=False, dtype=kind) for _ in range(layers)))
    optimizer = make(model)
    before, times = rss(), []
    for _ in range(steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        model(torch.randn(ROWS, width, dtype=kind)).square().mean().backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    held = sum(p.element_size() * p.numel() for p in model.parameters()) / MIB
    return before, rss(), held, statistics.median(times[1:])


def rss() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.torch.memory", description=__doc__)
    parser.add_argument("--way", choices=WAYS, help="run one way in this process and print its figures")
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=list(WAYS), help="the ways to run (default: all)")
    parser.add_argument("--steps", type=int, default=9, help="number of training steps (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="number of processes for each way (%(default)s)")
    parser.add_argument("--layers", type=int, default=LAYERS, help="number of layers (%(default)s)")
    parser.add_argument("--width", type=int, default=WIDTH, help="width of the layers (%(default)s)")
    args = parser.parse_args()
    if args.way:
        print(*train(args.way, args.steps, args.layers, args.width))
        return
    print(f"{args.layers} layers of {args.width} x {args.width}, AdamW")
    print("The MiB are in addition to the parameters. The time is the median of all processes (shortest to longest).")
    options = ["--steps", str(args.steps), "--layers", str(args.layers), "--width", str(args.width)]
    found: dict[str, list[list[float]]] = {name: [] for name in args.ways}
    for _ in range(args.rounds):
        for name in args.ways:
            command = [sys.executable, "-m", "bench.torch.memory", "--way", name, *options]
            words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            found[name].append([float(word) for word in words])
    for name in args.ways:
        what, dtype, _ = WAYS[name]
        before, peak, parameters, _ = found[name][0]
        times = sorted(1e3 * figures[3] for figures in found[name])
        print(
            f"{what:44}{dtype:9}{peak - before:6.0f} MiB, {(peak - before) / parameters:.2f} x the parameters; "
            f"a training step {statistics.median(times):.0f} ms ({times[0]:.0f} to {times[-1]:.0f})"
        )


if __name__ == "__main__":
    main()
