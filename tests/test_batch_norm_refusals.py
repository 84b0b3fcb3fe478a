"""Batch normalisation refuses wrong arguments, and writes nothing before it raises the error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from support.bits import Array


def x32(*shape: int) -> Array:
    """Return a float32 array with the numbers 0, 1, ..., 16, 0, 1, ..."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) % 17


def read_only(a: Array) -> Array:
    a.flags.writeable = False
    return a


whole = x32(9, 3, 4)
REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"x": [1.0]}, TypeError, r"x must be a numpy.ndarray of float32, float64, float16 or bfloat16; got list"),
    ({"x": x32(4, 3).astype(int)}, TypeError, r"x must be float32, float64, float16 or bfloat16 .*; got int64"),
    ({"x": x32(4)}, ValueError, r"x must be an array with at least 2 axes; got float32 \(4,\)"),
    ({"x": x32(0, 3)}, ValueError, r"x must be an array that is not empty; got float32 \(0, 3\)"),
    ({"x": x32(4, 0)}, ValueError, r"x must be an array that is not empty; got float32 \(4, 0\)"),
    ({"x": x32(1, 3)}, ValueError, r"x must be .* more than one value per channel if training is True; got .*1, 3"),
    ({"x": x32(4, 6)[:, ::2]}, ValueError, r"x must be C-contiguous; got float32 \(4, 3\) with strides \(24, 8\)\. If"),
    ({"axis": 3}, ValueError, r"axis must be an axis of x, float32 \(8, 3, 4\); got 3"),
    ({"axis": -4}, ValueError, r"axis must be an axis of x"),
    ({"eps": -1.0}, ValueError, r"eps must be finite and at least 0; got -1"),
    ({"eps": float("nan")}, ValueError, r"eps must be finite"),
    ({"momentum": 1.5}, ValueError, r"momentum must be None or from 0 to 1; got 1.5"),
    ({"momentum": None}, ValueError, r"num_batches must be given if momentum is None"),
    ({"num_batches": np.zeros(2, np.int64)}, TypeError, r"num_batches must be None or an int64 array of one item"),
    ({"num_batches": np.zeros(1, np.int32)}, TypeError, r"num_batches must be None or an int64 array of one item"),
    ({"num_batches": read_only(np.zeros(1, np.int64))}, ValueError, r"num_batches must be writeable"),
    ({"num_batches": np.ma.zeros(1, np.int64)}, TypeError, r"num_batches must be None or an int64 array of one item"),
    ({"num_batches": np.zeros(9, np.uint8)[1:].view(np.int64)}, ValueError, r"num_batches must be aligned to 8 bytes"),
    ({"num_batches": np.array([-1])}, ValueError, r"num_batches must be at least 0 and below 2\*\*63 - 1; got -1"),
    ({"num_batches": np.array([2**63 - 1])}, ValueError, r"num_batches must be at least 0 and below 2\*\*63 - 1"),
    ({"training": 1}, TypeError, r"training must be True or False; got 1"),
    ({"training": None}, TypeError, r"training must be True or False; got None"),
    ({"relu": "no"}, TypeError, r"relu must be True or False; got 'no'"),
    ({"axis": 1.0}, TypeError, r"axis must be a whole number; got 1.0"),
    ({"axis": True}, TypeError, r"axis must be a whole number; got True"),
    ({"axis": 2**70}, ValueError, r"axis must be an axis of x"),
    ({"eps": "small"}, TypeError, r"eps must be a number; got 'small'"),
    ({"momentum": "0.1"}, TypeError, r"momentum must be a number; got '0.1'"),
    ({"momentum": True}, TypeError, r"momentum must be a number; got True"),
    ({"momentum": 2}, ValueError, r"momentum must be from 0 to 1; got 2"),
    ({"gamma": x32(4)}, ValueError, r"gamma must be None, or .* dtype float32 and shape \(3,\); got float32 \(4,\)"),
    ({"beta": np.zeros(3)}, ValueError, r"beta must be None, or .* dtype float32 and shape \(3,\); got float64 \(3"),
    ({"running_mean": None}, ValueError, r"running_var must be None if running_mean is None; got float32"),
    ({"running_var": None}, ValueError, r"running_var must be given if running_mean is given; got None"),
    ({"running_mean": None, "running_var": None, "training": False}, ValueError, r"running_mean must be given"),
    ({"running_mean": read_only(x32(3))}, ValueError, r"running_mean must be writeable; got a read-only float32"),
    ({"running_mean": x32(6)[::2]}, ValueError, r"running_mean must be None, or a C-contiguous array"),
    ({"residual": x32(8, 3)}, ValueError, r"residual must be like x: float32 \(8, 3, 4\); got float32 \(8, 3\)"),
    ({"out": x32(8, 3, 5)}, ValueError, r"out must be like x: float32 \(8, 3, 4\); got float32 \(8, 3, 5\)"),
    ({"out": np.zeros((8, 3, 4))}, ValueError, r"out must be like x"),
    ({"out": read_only(x32(8, 3, 4))}, ValueError, r"out must be writeable; got a read-only"),
    ({"x": whole[:8], "out": whole[1:]}, ValueError, r"out must be in memory of its own; got .* a part of x"),
    ({"residual": whole[:8], "out": whole[1:]}, ValueError, r"out must be in memory of its own"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "error", "message"), REFUSED, ids=lambda v: str(v)[:40])
def test_refused_calls_write_nothing(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {
        "x": x32(8, 3, 4), "gamma": x32(3), "beta": x32(3), "running_mean": x32(3), "running_var": x32(3),
        "num_batches": None, "out": x32(8, 3, 4), **changed,
    }  # fmt: skip
    if "x" in changed and "out" not in changed:  # the out above is only for an x of shape (8, 3, 4)
        arguments["out"] = None
    before = {k: v.tobytes() for k, v in arguments.items() if isinstance(v, np.ndarray)}
    with pytest.raises(error, match="batch_norm: " + message):
        fs.batch_norm(**arguments)
    assert before == {k: v.tobytes() for k, v in arguments.items() if isinstance(v, np.ndarray)}


def test_running_statistics_and_out_must_not_share_memory_with_other_arguments() -> None:
    both, x = x32(3), x32(8, 3)
    with pytest.raises(ValueError, match="running_mean must be in memory of its own; got memory shared with run"):
        fs.batch_norm(x, None, None, both, both)
    with pytest.raises(ValueError, match="running_mean must be in memory of its own; got memory shared with gamma"):
        fs.batch_norm(x, both, None, both, x32(3))
    with pytest.raises(ValueError, match="running_var must be in memory of its own; got memory shared with x"):
        fs.batch_norm(x, None, None, x32(3), x[0])
    with pytest.raises(ValueError, match="out must be in memory of its own; got memory shared with gamma"):
        fs.batch_norm(x, x[0], None, out=x)


def test_refused_backward_calls_write_nothing() -> None:
    x, dy, dx = x32(8, 3, 4), x32(8, 3, 4), x32(9, 3, 4)
    _, saved = fs.batch_norm(x)
    _, saved_with_residual = fs.batch_norm(x, residual=dy, relu=True)
    refused: list[tuple[Any, type[Exception], str]] = [
        ((dy, None), TypeError, "saved must be the second result of batch_norm; got NoneType"),
        ((dy[:4], saved), ValueError, r"dy must be like x: float32 \(8, 3, 4\); got float32 \(4, 3, 4\)"),
        ((dy.astype(np.float64), saved), ValueError, "dy must be like x"),
        ((np.asfortranarray(dy), saved), ValueError, "dy must be C-contiguous"),
        ((dy, saved, dx), ValueError, "out must be like x"),
        ((dy, saved, read_only(x32(8, 3, 4))), ValueError, "out must be writeable"),
        ((dy, saved, x), ValueError, "out must be in memory of its own; got memory shared with x"),
        ((dx[:8], saved, dx[1:]), ValueError, "out must be in memory of its own; got memory shared with a part of dy"),
        ((dy, saved, (None, None)), ValueError, "out must be one array, for dx: dresidual is None and needs no array"),
        (
            (dy, saved_with_residual, (dx[:8], dx[1:])),
            ValueError,
            "out must be in memory of its own; got memory shared with dx",
        ),
    ]
    before = [a.tobytes() for a in (x, dy, dx)]
    for args, error, message in refused:
        with pytest.raises(error, match="batch_norm_backward: " + message):
            fs.batch_norm_backward(*args)
    assert before == [a.tobytes() for a in (x, dy, dx)]
