"""Helpers for tests that change arrays, parameter groups or states during a step.

Each case of these tests runs in a separate process, because a fault may crash the process.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

from .interpreters import in_child

REFUSALS = (ValueError, TypeError, RuntimeError)


def survives(case: Callable[[], object]) -> bool:
    """Run a case in a separate process. Return True if it ends without an exception or a signal."""

    def act() -> bool:
        try:
            case()
        except BaseException:
            traceback.print_exc(file=sys.stderr)
            return False
        return True

    return in_child(act)


def right_or_refused(step: Callable[[], Any], *words: str) -> bool:
    """Return True if the step succeeds, and False if it is refused.

    The error message must contain the name of the optimizer (Adam or SGD) and all `words`.
    """
    try:
        step()
    except REFUSALS as error:
        text = str(error)
        assert any(name in text for name in ("Adam", "SGD")), f"not an error message of fusedstep: {error!r}"
        assert all(word in text for word in words), text
        return False
    return True
