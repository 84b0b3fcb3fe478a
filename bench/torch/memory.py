"""The memory's peak of a training step, with the gradients stepped after and in the backward pass.

``python -m bench.torch.memory`` prints it: each way in a process of its own, and what the system says was its peak.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

LAYERS, WIDTH, ROWS = 12, 3072, 64  # 113M parameters; from 32 MiB on glibc gives back what is freed
MIB = 2**20
WAYS = {
    "torch": "torch.optim.AdamW, step()",
    "step": "fusedstep.torch.AdamW, step()",
    "backward": "fusedstep.torch.AdamW, step_in_backward",
}


def peak_of(way: str) -> tuple[float, float, float]:
    """Train for three steps in this process; return MiB: the process before them, its peak, all parameters."""
    import torch

    import fusedstep.torch as ours

    torch.manual_seed(0)
    layers = [torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)]
    model = torch.nn.Sequential(*layers)
    optimizer: torch.optim.Optimizer
    if way == "torch":
        optimizer = torch.optim.AdamW(model.parameters())
    else:
        optimizer = fused = ours.AdamW(model.parameters())
        if way == "backward":
            ours.step_in_backward(fused)
    before = rss()
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(ROWS, WIDTH)).square().mean().backward()
        optimizer.step()
    return before, rss(), sum(4 * p.numel() for p in model.parameters()) / MIB


def rss() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.torch.memory", description=__doc__)
    parser.add_argument("--way", choices=WAYS, help="one way, in this process: prints its three figures")
    way = parser.parse_args().way
    if way:
        print(*peak_of(way))
        return
    print(f"{LAYERS} layers of {WIDTH} x {WIDTH}, float32, AdamW: growth of the process over the parameters")
    for name, what in WAYS.items():
        command = [sys.executable, "-m", "bench.torch.memory", "--way", name]
        words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        before, peak, parameters = map(float, words)
        print(f"{what:40} {peak - before:6.0f} MiB, {(peak - before) / parameters:.2f} x the parameters")


if __name__ == "__main__":
    main()
