"""Numbers that are computed almost without rounding (160 bits), together with a bound of the usual rounding errors.

The bound belongs to the same computation in floating point: its result differs from the exact value by at most the
bound. Each operation adds half a unit in the last place to the bound (Wilkinson's running error analysis). The bound
does not depend on the results of a kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import mpmath
import numpy as np

from .bits import Array

CONTEXT = mpmath.MPContext()
CONTEXT.prec = 160
mpf = CONTEXT.mpf
ZERO, INF = mpf(0), mpf("inf")


class Format:
    """A floating-point type.

    `unit` is half a unit in the last place of 1, and `tiny` is the smallest normal number. `half_smallest` is half of
    the smallest denormal, and `largest` is the largest finite number.
    """

    def __init__(self, dtype: Any) -> None:
        info = np.finfo(dtype)
        self.unit, self.tiny = mpf(float(info.eps)) / 2, mpf(float(info.tiny))
        self.half_smallest, self.largest = mpf(float(info.smallest_subnormal)) / 2, mpf(float(info.max))


DOUBLE = Format(np.float64)


def _of_numbers(method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return `method`, changed for an array as the other operand: NumPy then applies it to each element."""
    return lambda self, other: NotImplemented if isinstance(other, np.ndarray) else method(self, other)


class Exact:
    """An exact number `value`. A kernel computes the same number with an error of at most `error`.

    The kernel computes in the format `narrow`. If `wide` is True, the number is an option or a coefficient, which the
    kernel computes in float64. Three events can invalidate the bound `error`. They are added to `events`. "overflow" is
    a value beyond the largest number of the format. "lost" is a divisor that may be zero after rounding. "choice" is a
    comparison whose result may differ after rounding.
    """

    __slots__ = ("error", "value", "wide")
    narrow: ClassVar[Format] = DOUBLE
    events: ClassVar[set[str]] = set()

    def __init__(self, value: Any, error: Any = ZERO, wide: bool = False) -> None:
        self.value, self.error, self.wide = mpf(value), error, wide

    @classmethod
    def _rounded(cls, value: Any, error: Any, wide: bool, underflows: bool = True) -> Exact:
        if not CONTEXT.isfinite(value):
            return cls(value, ZERO, wide)
        form, size = DOUBLE if wide else cls.narrow, abs(value) + error
        if size > form.largest:
            cls.events.add("overflow")
        error += size * form.unit
        if underflows and abs(value) < form.tiny and (value != 0 or error != 0):
            error += form.half_smallest
        return cls(value, error, wide)

    def _pair(self, other: Any) -> tuple[Exact, Exact, bool]:
        other = other if isinstance(other, Exact) else Exact(float(other), ZERO, True)
        wide = self.wide and other.wide
        return self._as(wide), other._as(wide), wide

    def _as(self, wide: bool) -> Exact:
        return self if self.wide == wide else self._rounded(self.value, self.error, wide)

    @_of_numbers
    def __add__(self, other: Any) -> Exact:
        a, b, wide = self._pair(other)
        if a.value == a.error == 0 or b.value == b.error == 0:
            return Exact(a.value + b.value, a.error + b.error, wide)
        return self._rounded(a.value + b.value, a.error + b.error, wide, underflows=False)

    @_of_numbers
    def __mul__(self, other: Any) -> Exact:
        a, b, wide = self._pair(other)
        for x, y in ((a, b), (b, a)):
            if x.error == 0 and abs(x.value) == 1:
                return Exact(x.value * y.value, y.error, wide)
        error = abs(a.value) * b.error + abs(b.value) * a.error + a.error * b.error
        return self._rounded(a.value * b.value, error, wide)

    @_of_numbers
    def __truediv__(self, other: Any) -> Exact:
        a, b, wide = self._pair(other)
        if b.value == 0 and b.error == 0:
            if a.error != 0:
                self.events.add("lost")
            return Exact(CONTEXT.nan if a.value == 0 or CONTEXT.isnan(a.value) else CONTEXT.sign(a.value) * INF)
        if not (CONTEXT.isfinite(a.value) and CONTEXT.isfinite(b.value)):
            return Exact(a.value / b.value, ZERO, wide)
        if abs(b.value) <= b.error:
            self.events.add("lost")
            return Exact(a.value / b.value if b.value != 0 else ZERO, INF, wide)
        quotient = a.value / b.value
        return self._rounded(quotient, (a.error + abs(quotient) * b.error) / (abs(b.value) - b.error), wide)

    def sqrt(self) -> Exact:
        """Return the square root. The root of a negative number is nan."""
        if CONTEXT.isnan(self.value) or self.value < 0:
            return Exact(CONTEXT.nan, ZERO, self.wide)
        low = max(self.value - self.error, ZERO)
        root = CONTEXT.sqrt(self.value)
        below = root - CONTEXT.sqrt(low) if CONTEXT.isfinite(root) else ZERO
        return self._rounded(
            root, max(below, CONTEXT.sqrt(self.value + self.error) - root) if below else ZERO, self.wide
        )

    def __neg__(self) -> Exact:
        return Exact(-self.value, self.error, self.wide)

    def __abs__(self) -> Exact:
        return Exact(abs(self.value), self.error, self.wide)

    def _decide(self, other: Any) -> Any:
        a, b, _ = self._pair(other)
        if a.error + b.error != 0 and abs(a.value - b.value) <= a.error + b.error:
            self.events.add("choice")
        return a.value, b.value

    @_of_numbers
    def __lt__(self, other: Any) -> bool:
        a, b = self._decide(other)
        return bool(a < b)

    @_of_numbers
    def __le__(self, other: Any) -> bool:
        a, b = self._decide(other)
        return bool(a <= b)

    @_of_numbers
    def __gt__(self, other: Any) -> bool:
        a, b = self._decide(other)
        return bool(a > b)

    @_of_numbers
    def __ge__(self, other: Any) -> bool:
        a, b = self._decide(other)
        return bool(a >= b)

    @_of_numbers
    def __eq__(self, other: object) -> bool:
        other = other if isinstance(other, Exact) else Exact(other)
        return bool(self.value == other.value)

    @_of_numbers
    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        return bool(self.value != 0)

    def __sub__(self, other: Any) -> Exact:
        return self + -other

    def __radd__(self, other: Any) -> Exact:
        return self + other

    def __rsub__(self, other: Any) -> Exact:
        return -self + other

    def __rmul__(self, other: Any) -> Exact:
        return self * other

    def __rtruediv__(self, other: Any) -> Exact:
        return Exact(float(other), ZERO, True) / self


def exact(array: Array) -> Array:
    """Return the array with each number as an `Exact`."""
    found = np.empty(array.shape, object)
    for at in np.ndindex(array.shape):
        found[at] = Exact(float(array[at]))
    return found


def option(value: Any) -> Any:
    """Return the floats of an optimizer's option as `Exact` with ``wide=True``. Other values are returned unchanged."""
    if isinstance(value, tuple):
        return tuple(option(v) for v in value)
    return Exact(value, ZERO, True) if isinstance(value, float) else value


def grid(dtype: Any) -> Array:
    """Return nan, and numbers of both signs.

    The numbers are 0, denormals, usual numbers, numbers near the limits of the dtype or near the square roots of these
    limits, and inf.
    """
    info = np.finfo(dtype)
    small, large = float(info.smallest_subnormal), float(info.max)
    ends = [0.0, small, 1000 * small, float(info.tiny), float(info.tiny) ** 0.5 / 8, float(info.tiny) ** 0.5, 1e-8]
    ends += [0.3, 1.0, 1.0 + float(info.eps), 3.0, 1e4, large**0.5 * 0.9, large**0.5 * 2, large / 2, large, np.inf]
    return np.array([*ends, *(-e for e in ends), np.nan], dtype)


class Namespace:
    """A replacement of the module NumPy. Its functions accept arrays of `Exact`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def sqrt(x: Any) -> Any:
        """Return square roots. If an array of `Exact` also contains floats, these are converted to `Exact` first."""
        if not (isinstance(x, np.ndarray) and x.dtype == object):
            return x.sqrt() if isinstance(x, Exact) else np.sqrt(x)
        roots = [(v if isinstance(v, Exact) else Exact(float(v))).sqrt() for v in x.ravel()]
        return np.array([*roots, None], object)[:-1].reshape(x.shape)

    @staticmethod
    def where(condition: Any, a: Any, b: Any) -> Any:
        """Return the selected numbers. Those with ``wide=True`` are rounded to the format `narrow`."""
        found = np.where(condition, a, b)
        for at in np.ndindex(found.shape) if found.dtype == object else ():
            if isinstance(found[at], Exact):
                found[at] = found[at]._as(wide=False)
        return found

    @staticmethod
    def maximum(a: Any, b: Any) -> Any:
        """Return the larger of two numbers, or nan if one of them is nan."""
        return np.where((a > b) | (a != a), a, b)

    @staticmethod
    def minimum(a: Any, b: Any) -> Any:
        """Return the smaller of two numbers, or nan if one of them is nan."""
        return np.where((a < b) | (a != a), a, b)
