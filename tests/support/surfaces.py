"""A quadratic function with known curvature, and a small network."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedstep import nn

Array = np.ndarray[Any, Any]


class Quadratic:
    """The function ``t A t / 2 + b t`` of a vector t, and its gradient. A is symmetric with the given eigenvalues."""

    def __init__(self, eigenvalues: Any, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        values = np.asarray(eigenvalues, float)
        q, _ = np.linalg.qr(rng.standard_normal((values.size, values.size)))
        self.A, self.b = (q * values) @ q.T, rng.standard_normal(values.size)

    def __call__(self, theta: Array) -> tuple[float, Array]:
        return float(theta @ self.A @ theta / 2 + self.b @ theta), self.A @ theta + self.b


def network(dtype: Any = np.float64, *extra: nn.Layer) -> tuple[nn.Sequential, Array, Array]:
    """Return a network of two linear layers, 10 random inputs and their 10 random labels."""
    rng = np.random.default_rng(4)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), *extra, nn.Linear(4, 3), dtype=dtype, rng=1)
    return model, rng.standard_normal((10, 3)), rng.integers(0, 3, 10)
