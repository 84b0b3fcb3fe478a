"""Dropout and noise refuse wrong arguments with a message that names the argument, before a byte is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import fusedstep as fs
from support.bits import KEY, Array


def ones(*shape: int, dtype: Any = np.float32) -> Array:
    return np.ones(shape, dtype)


def read_only() -> Array:
    a = ones(3)
    a.flags.writeable = False
    return a


BUFFER = ones(10)
REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: fs.dropout([1.0], 0.5, KEY), TypeError, "dropout: x must be a numpy.ndarray"),  # type: ignore[arg-type]
    (lambda: fs.dropout(ones(3, dtype="i4"), 0.5, KEY), TypeError, "dropout: x must be float32, float64, float16 or"),
    (lambda: fs.dropout(ones(3, dtype=">f4"), 0.5, KEY), TypeError, "native byte order"),
    (lambda: fs.dropout(np.ma.masked_array(ones(3)), 0.5, KEY), TypeError, "got MaskedArray"),
    (lambda: fs.dropout(np.zeros(13, np.uint8)[1:].view("f4"), 0.5, KEY), ValueError, "aligned to 4 bytes, the size"),
    (lambda: fs.dropout_backward(None, 0.5, KEY), TypeError, "dropout_backward: dy must be"),  # type: ignore[arg-type]
    (lambda: fs.dropout(BUFFER, 1.5, KEY), ValueError, "dropout: p must be from 0 to 1; got 1.5"),
    (lambda: fs.dropout(BUFFER, -0.1, KEY), ValueError, "dropout: p must be from 0 to 1; got -0.1"),
    (lambda: fs.dropout(BUFFER, float("nan"), KEY), ValueError, "dropout: p must be finite"),
    (lambda: fs.dropout(BUFFER, "0.5", KEY), TypeError, "dropout: p must be a number"),  # type: ignore[arg-type]
    (lambda: fs.dropout(BUFFER, 0.5, 7), TypeError, "dropout: key must be a Key"),  # type: ignore[arg-type]
    (lambda: fs.dropout(BUFFER, 0.5, KEY, "other"), ValueError, 'dropout: mode must be "inverted" or "vanilla"'),
    (lambda: fs.dropout(BUFFER, 0.5, KEY, offset=-1), ValueError, "dropout: offset must be at least 0"),
    (lambda: fs.dropout(BUFFER, 0.5, KEY, offset=2**63), ValueError, "offset must be at least 0 and below"),
    (lambda: fs.dropout(BUFFER, 0.5, KEY, offset=1.0), TypeError, "offset must be a whole number"),  # type: ignore[arg-type]
    (lambda: fs.dropout(BUFFER, 0.5, KEY, offset=True), TypeError, "offset must be a whole number; got True"),
    (lambda: fs.dropout(BUFFER, 0.5, KEY, training=1), TypeError, "training must be True or False"),  # type: ignore[arg-type]
    (
        lambda: fs.dropout(BUFFER, 0.5, KEY, out=ones(9)),
        ValueError,
        "dropout: out must be float32 of shape (10,), like x",
    ),
    (lambda: fs.dropout(BUFFER, 0.5, KEY, out=ones(10, dtype="f8")), ValueError, "got float64 (10,)"),
    (lambda: fs.dropout(BUFFER, 0.5, KEY, out=[1.0]), TypeError, "dropout: out must be"),  # type: ignore[arg-type]
    (lambda: fs.dropout(ones(3), 0.5, KEY, out=read_only()), ValueError, "out must be writeable; got a read-only"),
    (lambda: fs.dropout(ones(3), 0.5, KEY, out=as_strided(ones(1), (3,), (0,))), ValueError, "without repeated"),
    (lambda: fs.dropout(BUFFER[:8], 0.5, KEY, out=BUFFER[1:9]), ValueError, "x itself or memory of its own"),
    (lambda: fs.dropout(BUFFER[:5], 0.5, KEY, out=BUFFER[4::-1]), ValueError, "x itself or memory of its own"),
    (lambda: fs.dropout_backward(BUFFER[:8], 0.5, KEY, out=BUFFER[1:9]), ValueError, "dy itself or memory of its own"),
    (
        lambda: fs.dropout(BUFFER, 0.5, KEY, shape=(3,)),
        ValueError,
        "shape must broadcast to the shape of x, float32 (10,); got (3,)",
    ),
    (lambda: fs.dropout(BUFFER, 0.5, KEY, shape=(1, 10)), ValueError, "must broadcast to the shape of x"),
    (lambda: fs.dropout(BUFFER[::-1], 0.5, KEY, shape=(3,), out=BUFFER), ValueError, "broadcast to the shape of x"),
    (lambda: fs.dropout(BUFFER, 0.5, KEY, shape=(-1,)), ValueError, "dropout: shape[0] must be at least 0"),
    (lambda: fs.dropout_mask((3, 1.5), 0.5, KEY), TypeError, "dropout_mask: shape[1] must be a whole"),  # type: ignore[arg-type]
    (lambda: fs.dropout_mask(3, 2, KEY), ValueError, "dropout_mask: p must be from 0 to 1"),
    (lambda: fs.gaussian_noise(BUFFER, -1, KEY), ValueError, "gaussian_noise: std must be at least 0"),
    (lambda: fs.gaussian_noise(BUFFER, 1, 5), TypeError, "gaussian_noise: key must be a Key"),  # type: ignore[arg-type]
    (lambda: fs.gaussian_noise(BUFFER[:8], 1, KEY, out=BUFFER[1:9]), ValueError, "x itself or memory of its own"),
    (lambda: fs.gaussian_noise((3,), 1, KEY, out=BUFFER), TypeError, "out must be None if x is a shape"),
    (lambda: fs.gaussian_noise(3, 1, KEY, dtype="f2"), TypeError, "dtype must be float32 or float64; got float16"),
    (lambda: fs.dropout_moments(None, 3, KEY), TypeError, "dropout_moments: f must be a function"),  # type: ignore[arg-type]
    (lambda: fs.dropout_moments(lambda k: 0, 0, KEY), ValueError, "dropout_moments: k must be at least 1; got 0"),
    (lambda: fs.dropout_moments(lambda k: 0, 1, KEY, ddof=1), ValueError, "k must be at least 2; got 1"),
    (lambda: fs.dropout_moments(lambda k: ones(k.stream % 7), 9, KEY), ValueError, "f must return shape"),
]


@pytest.mark.parametrize(("call", "error", "words"), REFUSED, ids=[words[:50] for _, _, words in REFUSED])
def test_wrong_argument_of_dropout_or_noise_is_refused_and_no_byte_is_written(
    call: Callable[[], Any], error: type[Exception], words: str
) -> None:
    before = BUFFER.tobytes()
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)
    assert BUFFER.tobytes() == before
