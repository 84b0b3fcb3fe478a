"""Hypothesis strategies for shapes and strides of arrays."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

# Numbers of elements in the SIMD vectors and loops of the kernels, and numbers that are larger or smaller by one.
EDGES = sorted({max(0, n + d) for n in (1, 4, 8, 16, 32, 64, 128, 1024, 4096) for d in (-1, 0, 1)})


def dense_strides(shape: tuple[int, ...], order: tuple[int, ...], item: int) -> tuple[int, ...]:
    """Return the strides in bytes of an array without gaps, whose elements have `item` bytes.

    The first axis in `order` has the largest stride.
    """
    strides, step = [0] * len(shape), item
    for axis in reversed(order):
        strides[axis] = step
        step *= max(1, shape[axis])
    return tuple(strides)


@st.composite
def shapes(draw: Any, most: int = 5000, least_axes: int = 0) -> tuple[int, ...]:
    """Draw a shape of at least `least_axes` and at most three axes.

    In most shapes, one length is a number of at most `most` from `EDGES`. All other lengths are from 1 to 3.
    """
    edge = draw(st.sampled_from([n for n in EDGES if n <= most]))
    others = draw(st.lists(st.integers(1, 3), min_size=max(0, least_axes - 1), max_size=2))
    axes = others if draw(st.integers(0, 9)) == 0 and len(others) >= least_axes else [*others, edge]
    return tuple(draw(st.permutations(axes)))


@st.composite
def layouts(draw: Any, shape: tuple[int, ...], item: int, dense: bool) -> tuple[int, ...]:
    """Draw strides in bytes for an array of this shape, whose elements have `item` bytes.

    If `dense` is True, the array has no gaps. If it is False, strides may also be negative, 0, or leave gaps.
    """
    strides = dense_strides(shape, tuple(draw(st.permutations(range(len(shape))))), item)
    if dense:
        return strides
    return tuple(s * draw(st.sampled_from([1, 1, 1, -1, 2, -3, 0])) for s in strides)
