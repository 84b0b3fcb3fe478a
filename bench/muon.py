"""Compare our Muon with torch's Muon on the matrices of two models: ``python -m bench.muon``.

The comparison is made twice. First, both optimizers compute the matrix products in float32, then both in bfloat16.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import fusedstep.torch
from fusedstep._bench.harness import ratio_interval
from fusedstep._bench.optim.models import gpt2, resnet18

ROUNDS = 4


def matrices(shapes: Any) -> list[tuple[int, int]]:
    """Return the different shapes of the hidden matrices. Convolution kernels are flattened, embeddings left out."""
    flat = {(shape[0], int(np.prod(shape[1:]))) for shape in shapes if len(shape) > 1}
    return sorted(shape for shape in flat if max(shape) < 30_000)


def seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def main() -> None:
    """Print the times of our step and of torch's step, and their ratio with its 95% interval."""
    float32, dtypes = torch.Tensor.float, (torch.float32, torch.bfloat16)
    shipped = torch.Tensor.bfloat16
    for name, shapes in (("resnet18", resnet18()), ("gpt2", gpt2())):
        for dtype in dtypes:
            mine = [torch.randn(s).requires_grad_() for s in matrices(shapes)]
            other = [p.detach().clone().requires_grad_() for p in mine]
            for p, q in zip(mine, other, strict=True):
                p.grad = torch.randn(p.shape)
                q.grad = p.grad.clone()
            ours, theirs = fusedstep.torch.Muon(mine, ns_dtype=dtype), torch.optim.Muon(other)
            setattr(torch.Tensor, "bfloat16", shipped if dtype == torch.bfloat16 else lambda x: float32(x).clone())  # noqa: B010
            try:
                pairs = [(seconds(ours.step), seconds(theirs.step)) for _ in range(ROUNDS + 1)][1:]
            finally:
                setattr(torch.Tensor, "bfloat16", shipped)  # noqa: B010
            a, b = np.array(pairs).T
            ratio, low, high = ratio_interval(b, a)
            far = max(float((p - q).detach().abs().max()) for p, q in zip(mine, other, strict=True))
            print(
                f"{name} {dtype}: ours {1e3 * np.median(a):.0f} ms, torch {1e3 * np.median(b):.0f} ms, "
                f"torch / ours {ratio:.2f} ({low:.2f} to {high:.2f}), largest difference {far:.1e}"
            )


if __name__ == "__main__":
    main()
