"""Train NumPy arrays on several processes (ranks) over MPI in two ways: data-parallel and ZeRO-1.

With data-parallel training, each rank updates all parameters. With ZeRO-1, each rank updates one slice of the
parameters, and has only the optimizer states of this slice. Start this example with:

mpiexec -n 2 python docs/examples/mpi.py
"""

import sys
import zlib

import numpy as np
from mpi4py import MPI

import fusedstep as fs

COMM = MPI.COMM_WORLD
RANK, SIZE = COMM.rank, COMM.size
SHAPES = (17, 32), (32, 6)
COUNT = sum(a * b for a, b in SHAPES)
STEPS, ROWS = 100, 64
# All parameters are in one array. Rank k has the slice from BOUNDS[k] to BOUNDS[k + 1].
BOUNDS = np.linspace(0, COUNT, SIZE + 1).astype(int)
MINE = slice(BOUNDS[RANK], BOUNDS[RANK + 1])


def matrices(flat: np.ndarray) -> list[np.ndarray]:
    """Return the two matrices, which are views of one array."""
    first = SHAPES[0][0] * SHAPES[0][1]
    return [flat[:first].reshape(SHAPES[0]), flat[first:].reshape(SHAPES[1])]


def loss_and_gradient(w: np.ndarray, step: int) -> tuple[float, np.ndarray]:
    """Return the loss of this rank's part of a batch, and the gradient of this loss."""
    x = np.random.default_rng(step).standard_normal((ROWS, SHAPES[0][0]), dtype=np.float32)[RANK::SIZE]
    y = np.sin(x.cumsum(1)[:, : SHAPES[1][1]])
    (w1, w2), gradient = matrices(w), np.empty_like(w)
    hidden = np.tanh(x @ w1)
    error = hidden @ w2 - y
    scale = 2 / error.size
    g1, g2 = matrices(gradient)
    g2[:] = scale * hidden.T @ error
    g1[:] = scale * x.T @ (error @ w2.T * (1 - hidden * hidden))
    return float((error * error).mean()), gradient


def norm_over_ranks(part: np.ndarray) -> float:
    """Return the norm over the parts of all ranks. All ranks add in the same order and get the same bits."""
    return float(np.sqrt(sum(COMM.allgather(float(part.astype(np.float64) @ part)))))


def data_parallel(w: np.ndarray, optimizer: fs.AdamW, gradient: np.ndarray) -> None:
    """Update all parameters on every rank.

    For the norm of the gradient, each rank sums the squares in one slice of the gradient.
    """
    total = np.empty_like(gradient)
    COMM.Reduce(gradient, total, root=0)
    COMM.Bcast(total, root=0)  # not Allreduce, whose result might differ between ranks
    total /= SIZE
    optimizer.step([total], clip_norm=1.0, grad_norm=norm_over_ranks(total[MINE]))


def by_slices(w: np.ndarray, optimizer: fs.AdamW, gradient: np.ndarray) -> None:
    """Update one slice of the parameters on each rank, and send the new values of each slice to all ranks."""
    counts = np.diff(BOUNDS)
    part = np.empty(counts[RANK], np.float32)
    COMM.Reduce_scatter(gradient, part, counts)
    part /= SIZE
    optimizer.step([part], clip_norm=1.0, grad_norm=norm_over_ranks(part))
    COMM.Allgatherv(w[MINE].copy(), [w, counts])


for step_all in (data_parallel, by_slices):
    w = np.random.default_rng(0).standard_normal(COUNT, dtype=np.float32) / 4  # the same on all ranks
    optimizer = fs.AdamW([w if step_all is data_parallel else w[MINE]], lr=3e-3)
    losses = []
    for step in range(STEPS):
        loss, gradient = loss_and_gradient(w, step)
        step_all(w, optimizer, gradient)
        losses.append(sum(COMM.allgather(loss)) / SIZE)
    text = f"rank {RANK} of {SIZE}: {step_all.__name__}: loss {losses[0]:.4f}, in the end {losses[-1]:.4f}"
    sys.stdout.write(f"{text}; parameters {zlib.crc32(w.tobytes()):08x}\n")
