"""Compare the time of our Muon with the time of torch's Muon: ``python -m bench.muon``.

The parameters are the matrices of two models. The comparison is made twice: first, both optimizers compute the matrix
products in float32, and then in bfloat16.
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
    """Return the different shapes of a model's weight matrices, sorted.

    A convolution kernel is flattened to a matrix. Matrices with a side of 30,000 or more are left out, because they are
    embeddings.
    """
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
            # torch's Muon calls Tensor.bfloat16 before its products. For float32, this method is replaced.
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
                f"torch / ours {ratio:.2f} ({low:.2f} to {high:.2f}), largest difference of a parameter {far:.1e}"
            )


if __name__ == "__main__":
    main()
