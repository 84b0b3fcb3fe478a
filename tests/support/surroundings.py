"""Settings of a process that a library must not change. Tests import this module in new interpreters."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import locale
import logging
import os
import random
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

C = ctypes.CDLL(None)


def denormals() -> tuple[bool, float, float]:
    """Compute with denormals. The results show whether the CPU replaces denormals by zero."""
    return sys.float_info.min / 2 != 0, float(np.float32(1e-38) / np.float32(8)), float(np.float32(1e-45))


def elsewhere(look: Callable[[], Any]) -> list[Any]:
    """Call a function in another thread. Return a list with its result."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(look()))
    thread.start()
    thread.join()
    return found


def of_status(*names: str) -> list[str]:
    """Return the lines of /proc/self/status that begin with these names."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return [line for line in lines if line.startswith(names)]


LOOKS: dict[str, Callable[[], Any]] = {
    "denormals": denormals,
    "denormals of new threads": lambda: elsewhere(denormals),
    "rounding": C.fegetround,
    "traps": C.fegetexcept,
    "signal handlers": lambda: {s: signal.getsignal(s) for s in sorted(signal.valid_signals())},
    "signals": lambda: of_status("SigBlk", "SigIgn", "SigCgt"),
    "environment": lambda: dict(os.environ),
    "warnings": lambda: (warnings.filters, warnings.showwarning),
    "NumPy": lambda: (np.geterr(), np.geterrcall(), np.getbufsize(), np.get_printoptions()),
    "thread limits": lambda: [(i["filepath"], i["num_threads"]) for i in threadpoolctl.threadpool_info()],
    "Python's threads": threading.enumerate,
    "finding modules": lambda: (sys.path, sys.path_hooks, sys.meta_path),
    "hooks": lambda: (sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook, sys.gettrace()),
    "interpreter": lambda: (sys.getswitchinterval(), sys.getrecursionlimit(), gc.get_threshold(), gc.isenabled()),
    "locale": lambda: locale.setlocale(locale.LC_ALL),
    "random numbers": lambda: (random.getstate(), np.random.get_state()),
    "logging": lambda: (logging.root.handlers, logging.root.level),
    "limits": lambda: [resource.getrlimit(k) for k in (resource.RLIMIT_STACK, resource.RLIMIT_CORE)],
    "affinity": lambda: os.sched_getaffinity(0),
    "folder": os.getcwd,
    "faulthandler": faulthandler.is_enabled,
}


def snapshot() -> dict[str, str]:
    """Return the present values of all settings as texts, by the names in `LOOKS`."""
    return {name: repr(look()) for name, look in LOOKS.items()}


def compare(before: dict[str, str], what: str) -> None:
    """Assert that no setting has changed since the snapshot `before`. The error says that `what` changed it."""
    now = snapshot()
    differ = {name: (before[name], now[name]) for name in now if now[name] != before[name]}
    assert not differ, f"{what} changed {differ}"
