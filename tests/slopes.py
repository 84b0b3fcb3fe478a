"""Central differences: what an analytic gradient is held against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def differences(f: Callable[[], float], array: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """Return central differences of f with respect to the elements of an array that f reads."""
    slope = np.empty_like(array)
    for i in np.ndindex(array.shape):
        keep = array[i]
        array[i] = keep + h
        above = f()
        array[i] = keep - h
        slope[i] = (above - f()) / (2 * h)
        array[i] = keep
    return slope


def assert_same_gradient(analytic: np.ndarray, numeric: np.ndarray) -> None:
    scale = max(float(abs(analytic).max()), float(abs(numeric).max()), 1e-3)
    assert float(abs(analytic - numeric).max()) <= 1e-7 * scale
