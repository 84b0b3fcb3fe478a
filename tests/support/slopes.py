"""Central differences, and their comparison with analytic gradients."""

from __future__ import annotations

import numpy as np

from fusedstep.inspect.gradient import central_differences as differences

__all__ = ["assert_same_gradient", "differences"]


def assert_same_gradient(analytic: np.ndarray, numeric: np.ndarray) -> None:
    scale = max(float(abs(analytic).max()), float(abs(numeric).max()), 1e-3)
    assert float(abs(analytic - numeric).max()) <= 1e-7 * scale
