"""Functions that run code in a new Python interpreter or in a forked child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any


def python(code: str, *arguments: Any, **env: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter. Warnings are errors, and only `env` can set FUSEDSTEP_* and OMP_* variables."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("FUSEDSTEP_", "OMP_"))}
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, env={**own, **env}, capture_output=True, text=True, timeout=120, check=False)


def in_child(act: Callable[[], bool], seconds: int = 20) -> bool:
    """Call `act` in a forked child. Return True if `act` returns True within this number of seconds."""
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)  # kills the child if it hangs
        os._exit(0 if act() else 1)
    return os.waitpid(child, 0)[1] == 0
