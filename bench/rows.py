"""Compare our SparseAdam with torch's SparseAdam on a large embedding: ``python -m bench.rows [--quick]``.

The embedding is a table of weights, with one row for each index. Each step changes some of the rows. The two optimizers
update the same table and the same moments, one after the other. The table and the moments need 7.7 GB for 10 million
rows of 64 float32 numbers, or 77 MB with --quick.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import fusedstep.torch
from fusedstep._bench.harness import ratio_interval

ROWS, QUICK_ROWS, WIDTH, TOUCHED, BATCHES, ROUNDS = 10_000_000, 100_000, 64, 4096, 16, 4


def gradients(rows: int) -> list[Any]:
    """Return sparse gradients of an embedding. Each gradient has TOUCHED rows in random order, some of them twice."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.sparse_coo_tensor(
            torch.randint(0, rows, (1, TOUCHED), generator=generator),
            torch.randn(TOUCHED, WIDTH, generator=generator),
            (rows, WIDTH),
            check_invariants=False,
        )
        for _ in range(BATCHES)
    ]


def optimizers(rows: int) -> tuple[Any, Any, Any]:
    """Return a table, our optimizer and torch's optimizer. Both optimizers have the same table and the same moments."""
    table = torch.nn.Parameter(torch.ones(rows, WIDTH))
    moments = [
        torch.full((rows, WIDTH), value) for value in (0.0, 1e-3)
    ]  # filled with numbers, so that the operating system has given all memory before the first step
    made = fusedstep.torch.SparseAdam([table], lr=1e-3), torch.optim.SparseAdam([table], lr=1e-3)
    for optimizer, step in zip(made, (torch.tensor(1.0), 1), strict=True):
        optimizer.state[table] = {"step": step, "exp_avg": moments[0], "exp_avg_sq": moments[1]}
    return table, *made


def largest_difference(table: Any, ours: Any, theirs: Any, gradient: Any) -> float:
    """Do our step and torch's step, starting with the same numbers.

    Return the largest absolute difference between the two results, in the table and in the moments.
    """
    rows = gradient._indices()[0].unique()
    tensors = [table.detach(), *(ours.state[table][name] for name in ("exp_avg", "exp_avg_sq"))]
    before, results = [t[rows] for t in tensors], []
    for optimizer, step in ((ours, torch.tensor(1.0)), (theirs, 1)):
        optimizer.state[table]["step"] = step
        table.grad = gradient
        optimizer.step()
        results.append([t[rows] for t in tensors])
        for t, value in zip(tensors, before, strict=True):
            t[rows] = value
    return max(float((a - b).abs().max()) for a, b in zip(*results, strict=True))


def seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def main() -> None:
    """Print the times of our step and of torch's step, and their ratio with its 95% interval."""
    parser = argparse.ArgumentParser(prog="python -m bench.rows", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="use 100,000 rows instead of 10 million")
    rows = QUICK_ROWS if parser.parse_args().quick else ROWS
    table, ours, theirs = optimizers(rows)
    given = gradients(rows)
    far = largest_difference(table, ours, theirs, given[0])
    samples = []
    for k in range(BATCHES * ROUNDS):
        times = []
        # The optimizers get different gradients, so that our step does not leave the rows of torch's step in the cache.
        for optimizer, own in ((ours, 0), (theirs, BATCHES // 2)):
            table.grad = given[(k + own) % BATCHES]
            times.append(seconds(optimizer.step))
        samples.append(times)
    a, b = np.array(samples[BATCHES // 4 :]).T
    ratio, low, high = ratio_interval(b, a)
    print(
        f"SparseAdam, {rows:,} rows of {WIDTH} float32, {TOUCHED:,} in a gradient, {torch.get_num_threads()} threads: "
        f"ours {1e6 * np.median(a):.0f} us, torch {1e6 * np.median(b):.0f} us, "
        f"torch / ours {ratio:.2f} ({low:.2f} to {high:.2f}), largest difference of a result {far:.1e}"
    )


if __name__ == "__main__":
    main()
