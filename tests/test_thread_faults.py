"""A step is complete even if the system cannot start threads."""

from __future__ import annotations

import sys

import pytest

from support.interpreters import python

NO_MORE_THREADS = """
import os, resource
from pathlib import Path
import numpy as np, fusedstep as fs
from fusedstep import _core

_core.set_backend("threads")
_core.force_threads(4)
p, g = np.zeros(1 << 20, np.float32), np.ones(1 << 20, np.float32)
opt = fs.SGD([p], lr=1.0)
threads = lambda: len(os.listdir("/proc/self/task"))
before = threads()
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 20), -1))  # a thread needs 8 MiB
opt.step([g])
assert p.min() == p.max() == -1 and threads() == before
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
opt.step([g])
assert p.min() == p.max() == -2 and threads() == before + 3
"""


@pytest.mark.skipif(sys.platform != "linux", reason="uses Linux's memory limit and its /proc folder")
def test_step_uses_one_thread_if_the_system_cannot_start_more() -> None:
    """A memory limit prevents the start of threads. After the limit is removed, the next step starts threads."""
    done = python(NO_MORE_THREADS)
    assert done.returncode == 0, done.stderr + done.stdout
