"""Strategies for shapes and layouts."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

# Lengths around every vector, block (32, 64, 128), and chunk (1,024, 4,096).
EDGES = sorted({max(0, n + d) for n in (1, 4, 8, 16, 32, 64, 128, 1024, 4096) for d in (-1, 0, 1)})


def dense_strides(shape: tuple[int, ...], order: tuple[int, ...], item: int) -> tuple[int, ...]:
    """Return the strides of an array without gaps whose axes lie in this order, the widest first."""
    strides, step = [0] * len(shape), item
    for axis in reversed(order):
        strides[axis] = step
        step *= max(1, shape[axis])
    return tuple(strides)


@st.composite
def shapes(draw: Any, most: int = 5000, least_axes: int = 0) -> tuple[int, ...]:
    """Draw up to three axes: one of an edge's length, the others short."""
    edge = draw(st.sampled_from([n for n in EDGES if n <= most]))
    others = draw(st.lists(st.integers(1, 3), min_size=max(0, least_axes - 1), max_size=2))
    axes = others if draw(st.integers(0, 9)) == 0 and len(others) >= least_axes else [*others, edge]
    return tuple(draw(st.permutations(axes)))


@st.composite
def layouts(draw: Any, shape: tuple[int, ...], item: int, dense: bool) -> tuple[int, ...]:
    """Draw strides: those of dense memory, or any, backwards, with gaps and repetitions."""
    strides = dense_strides(shape, tuple(draw(st.permutations(range(len(shape))))), item)
    if dense:
        return strides
    return tuple(s * draw(st.sampled_from([1, 1, 1, -1, 2, -3, 0])) for s in strides)
