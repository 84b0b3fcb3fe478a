"""Measure time, communication and memory of a training step that several processes of one machine share.

``python -m bench.torch.ranks`` prints the results for several ways to share the work, for example
DistributedDataParallel. Each way runs in new processes with one thread each. The processes communicate through gloo.
"""

from __future__ import annotations

import argparse
import importlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

LAYERS, WIDTH, ROWS, STEPS = 6, 1024, 64, 30  # 6.3M parameters
MIB = 2**20
WAYS = {
    "one": "one process",
    "ddp": "DistributedDataParallel",
    "zero": "ZeroRedundancyOptimizer",
    "fsdp2": "fully_shard",
}


def build(way: str) -> tuple[Any, Any]:
    """Return a model and its optimizer."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    from fusedstep.torch import AdamW

    torch.manual_seed(0)
    layers = [torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)]
    model: Any = torch.nn.Sequential(*layers)
    if way in ("ddp", "zero"):
        model = DistributedDataParallel(model, gradient_as_bucket_view=True)
    if way == "fsdp2":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
        for layer in layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    if way == "zero":
        from torch.distributed.optim import ZeroRedundancyOptimizer

        return model, ZeroRedundancyOptimizer(model.parameters(), AdamW, lr=1e-3, clip_norm=1.0)
    return model, AdamW(model.parameters(), lr=1e-3, clip_norm=1.0)


def import_all() -> None:
    """Import the modules of all ways before the measurement, so that the measured memory contains no modules."""
    for name in ("torch.distributed.fsdp", "torch.distributed.optim", "torch.distributed.tensor", "fusedstep.torch"):
        importlib.import_module(name)


def clocked(times: list[float], action: Callable[[], Any]) -> None:
    """Call a function, and append the milliseconds that it takes to a list."""
    start = time.perf_counter()
    action()
    times.append(1e3 * (time.perf_counter() - start))


def measure(way: str, rank: int, size: int, store: str) -> list[float]:
    """Train in this process. Return three times in milliseconds, and the additional memory of the process in MiB.

    The times are medians: of the forward and backward pass, of the optimizer's step, and of one all-reduce of all
    gradients. `store` is a file through which the processes find each other.
    """
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    import_all()
    if size > 1:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    model, optimizer = build(way)
    passes: list[float] = []
    steps: list[float] = []
    reductions: list[float] = []
    for _ in range(STEPS):
        x = torch.randn(ROWS, WIDTH)[rank::size]
        optimizer.zero_grad()
        clocked(passes, lambda x=x: model(x).square().mean().backward())  # type: ignore[misc]
        clocked(steps, optimizer.step)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    if size > 1:
        gradients = torch.zeros(LAYERS * WIDTH * WIDTH)
        for _ in range(STEPS):
            clocked(reductions, lambda: dist.all_reduce(gradients))
        del model, optimizer  # the wrapper of the model must be deleted before its process group
        dist.barrier()
        dist.destroy_process_group()
    return [statistics.median(times[2:]) if times else 0.0 for times in (passes, steps, reductions)] + [grown]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.torch.ranks", description=__doc__)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--way", choices=WAYS, help="run one way in this process as rank $RANK, and print its figures")
    parser.add_argument("--store", default="")
    args = parser.parse_args()
    if args.way:
        size = 1 if args.way == "one" else args.ranks
        print(*measure(args.way, int(os.environ.get("RANK", 0)), size, args.store))
        return
    print(f"{LAYERS} layers of {WIDTH} x {WIDTH}, float32, AdamW with clip_norm, batch {ROWS}, {args.ranks} processes")
    for name, what in WAYS.items():
        passed, stepped, reduced, grown = run(name, args.ranks)
        parts = f"forward and backward {passed:.1f} ms, step {stepped:.1f} ms, {grown:.0f} MiB per process"
        print(f"{what}: {parts}" + (f" (an all-reduce of all gradients alone: {reduced:.1f} ms)" if reduced else ""))


def run(way: str, ranks: int) -> list[float]:
    """Train in new processes. Return the figures of the first rank."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.torch.ranks", "--way", way, "--ranks", str(ranks)]
        command += ["--store", f"{folder}/store"]
        started = [
            subprocess.Popen(command, env={**os.environ, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
            for rank in range(1 if way == "one" else ranks)
        ]
        texts = [process.communicate(timeout=300)[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"{way}: a process has failed")
    return [float(word) for word in texts[0].split()]


if __name__ == "__main__":
    main()
