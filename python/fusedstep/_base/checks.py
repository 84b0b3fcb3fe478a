"""Checks of arguments. Each check returns the value as a plain Python type, or raises an error.

The error message begins with `what`, the name of the argument.
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .formats import STATE_DTYPES

Check = Callable[[str, Any], Any]


def number(what: str, value: Any) -> float:
    """Return a finite real number as a float."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{what} must be a number; got {_show(value)}")
    try:
        result = float(value)
    except OverflowError:  # an integer or a fraction beyond float64
        raise ValueError(f"{what} must be finite as a float; got {_show(value)}, beyond the range of floats") from None
    if not math.isfinite(result):
        raise ValueError(f"{what} must be finite; got {_show(value)}")
    return result


def observed(what: str, value: Any) -> float:
    """Return a metric as a float. It may be nan or inf. Arrays and tensors with one element are allowed."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise TypeError(f"{what} must be a number; got {_show(value)}") from None


def non_negative(what: str, value: Any) -> float:
    """Return a finite number of at least 0."""
    result = number(what, value)
    if result < 0:
        raise ValueError(f"{what} must be at least 0; got {value!r}")
    return result


def norm(what: str, value: Any) -> float:
    """Return a norm as a float: at least 0, inf or nan. Arrays and tensors with one element are allowed."""
    if isinstance(value, (str, bytes)):  # otherwise `float` would convert texts such as "1"
        raise TypeError(f"{what} must be a number; got {_show(value)}")
    result = observed(what, value)
    if result < 0:
        raise ValueError(f"{what} must be at least 0; got {value!r}")
    return result


def positive(what: str, value: Any) -> float:
    """Return a finite number above 0."""
    result = number(what, value)
    if result <= 0:
        raise ValueError(f"{what} must be above 0; got {value!r}")
    return result


def fraction(what: str, value: Any) -> float:
    """Return a number of at least 0 and below 1."""
    result = number(what, value)
    if not 0 <= result < 1:
        raise ValueError(f"{what} must be at least 0 and below 1; got {value!r}")
    return result


def open_fraction(what: str, value: Any) -> float:
    """Return a number above 0 and below 1."""
    result = number(what, value)
    if not 0 < result < 1:
        raise ValueError(f"{what} must be above 0 and below 1; got {value!r}")
    return result


def up_to_one(what: str, value: Any) -> float:
    """Return a number from 0 to 1."""
    result = number(what, value)
    if not 0 <= result <= 1:
        raise ValueError(f"{what} must be from 0 to 1; got {value!r}")
    return result


def _tuple(what: str, value: Any, size: int) -> tuple[Any, ...]:
    names = {2: "a pair of", 3: "three"}
    if not isinstance(value, (tuple, list)) or len(value) != size:
        raise TypeError(f"{what} must be {names[size]} numbers; got {_show(value)}")
    return tuple(value)


def betas(what: str, value: Any) -> tuple[float, float]:
    """Return two numbers of at least 0 and below 1."""
    first, second = _tuple(what, value, 2)
    return fraction(f"{what}[0]", first), fraction(f"{what}[1]", second)


def betas_of_interpolation(what: str, value: Any) -> tuple[float, float]:
    """Return two numbers below 1. The first is above 0, and the second is at least 0."""
    first, second = _tuple(what, value, 2)
    return open_fraction(f"{what}[0]", first), fraction(f"{what}[1]", second)


def three_betas(what: str, value: Any) -> tuple[float, float, float]:
    """Return three numbers of at least 0 and below 1."""
    first, second, third = (fraction(f"{what}[{k}]", beta) for k, beta in enumerate(_tuple(what, value, 3)))
    return first, second, third


def three_numbers(what: str, value: Any) -> tuple[float, float, float]:
    """Return three finite numbers."""
    first, second, third = (number(f"{what}[{k}]", part) for k, part in enumerate(_tuple(what, value, 3)))
    return first, second, third


def iterations(what: str, value: Any) -> int:
    """Return a number of iterations: a whole number of at least 0 and below 100."""
    return whole_number(what, value, below=100)


def rate_adjustment(what: str, value: Any) -> str | None:
    """Return the option `adjust_lr_fn` of Muon: a name or None."""
    if value is not None and (not isinstance(value, str) or value not in ("original", "match_rms_adamw")):
        raise ValueError(f'{what} must be "original", "match_rms_adamw" or None; got {_show(value)}')
    return value


def eps_pair(what: str, value: Any) -> tuple[float | None, float]:
    """Return two numbers of at least 0. The first may be None instead."""
    first, second = _tuple(what, value, 2)
    first = None if first is None else non_negative(f"{what}[0]", first)
    return first, non_negative(f"{what}[1]", second)


def at_least_one(what: str, value: Any) -> float:
    """Return a finite number of at least 1."""
    result = number(what, value)
    if result < 1:
        raise ValueError(f"{what} must be at least 1; got {value!r}")
    return result


def at_most_zero(what: str, value: Any) -> float:
    """Return a finite number of at most 0."""
    result = number(what, value)
    if result > 0:
        raise ValueError(f"{what} must be at most 0; got {value!r}")
    return result


def factors_around_one(what: str, value: Any) -> tuple[float, float]:
    """Return two factors. The first is above 0 and below 1, and the second is above 1."""
    low, high = _tuple(what, value, 2)
    high = number(f"{what}[1]", high)
    if high <= 1:
        raise ValueError(f"{what}[1] must be above 1; got {value[1]!r}")
    return open_fraction(f"{what}[0]", low), high


def bounds(what: str, value: Any) -> tuple[float, float]:
    """Return two numbers of at least 0. The first is at most the second."""
    low, high = (non_negative(f"{what}[{k}]", bound) for k, bound in enumerate(_tuple(what, value, 2)))
    if low > high:
        raise ValueError(f"{what}[0] must be at most {what.rpartition(' ')[2]}[1]; got {value!r}")
    return low, high


def survives(what: str, value: Any, dtypes: Iterable[str]) -> None:
    """Refuse a positive eps that becomes 0 in float32. Such an eps could not keep a denominator above 0.

    `dtypes` are the names of the parameters' dtypes. If all are float64, nothing is refused, because steps of float64
    parameters are computed in float64.
    """
    for dtype in dtypes if isinstance(value, float) else ():
        if value > 0 and dtype != "float64" and np.float32(value) == 0:
            smallest = np.finfo(np.float32).smallest_subnormal
            raise ValueError(
                f"{what} must be 0 or at least {smallest:.1e} for {dtype} parameters, whose steps are computed in "
                f"float32; got {value!r}"
            )


def flag(what: str, value: Any) -> bool:
    """Return True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{what} must be True or False; got {_show(value)}")
    return bool(value)


def rate(what: str, value: Any) -> Any:
    """Return a learning rate: a finite number of at least 0, or a function of the step."""
    return value if callable(value) else non_negative(what, value)


def decay_form(what: str, value: Any) -> str:
    """Return the name of a form of weight decay."""
    if not isinstance(value, str) or value not in ("l2", "decoupled", "proximal"):
        raise ValueError(f'{what} must be "l2", "decoupled" or "proximal"; got {_show(value)}')
    return value


def state_dtype(what: str, value: Any) -> str:
    """Return the name of a dtype of states."""
    if not isinstance(value, str) or value not in STATE_DTYPES:
        raise ValueError(f'{what} must be "float32", "bfloat16", "uint8" or None; got {_show(value)}')
    return value


def rounding(what: str, value: Any) -> str:
    """Return the name of a way of rounding."""
    if not isinstance(value, str) or value not in ("nearest", "stochastic"):
        raise ValueError(f'{what} must be "nearest", "stochastic" or None; got {_show(value)}')
    return value


def seed(what: str, value: Any) -> int:
    """Return a seed: a whole number of at least 0 and below 2**64."""
    return whole_number(what, value, 1 << 64)


def thread_count(what: str, value: Any) -> int:
    """Return a number of threads, from 1 to 65536."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not 1 <= int(value) <= 65536:
        raise ValueError(f"{what} must be a whole number from 1 to 65536, or None; got {_show(value)}")
    return int(value)


def index(what: str, value: Any) -> int:
    """Return an integer. Refuse True and False."""
    if isinstance(value, bool):
        raise TypeError(f"{what} must be a whole number; got {value!r}")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{what} must be a whole number; got {value!r}") from None


def whole_number(what: str, value: Any, below: int) -> int:
    """Return a whole number of at least 0 and below `below`."""
    result = index(what, value)
    if not 0 <= result < below:
        power = below.bit_length() - 1
        limit = f"2**{power}" if below == 1 << power else str(below)
        raise ValueError(f"{what} must be at least 0 and below {limit}; got {value!r}")
    return result


def axis_of(call: str, axis: Any) -> int:
    """Return an axis as an int. Clip huge numbers, so that they fit into an integer of C++, which then refuses them."""
    return max(-(2**31), min(index(f"{call}: axis", axis), 2**31))


def check_width(layer: str, name: str, value: object) -> int:
    """Return a number of features as an int. Refuse numbers below 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{layer}: {name} must be an integer >= 1; got {value!r}")
    return int(value)


def _show(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python does not print integers of more than 4,300 digits
        return f"a value of the type {type(value).__name__} with too many digits"
    return text if len(text) <= 60 else f"{type(value).__name__} {text[:50]}..."
