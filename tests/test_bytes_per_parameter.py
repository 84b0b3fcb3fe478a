"""Memory of optimizers with float32 and 8-bit states, in bytes per parameter, as the operating system measures it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")

PARAMETERS = 16_000_000
SCRIPT = """
import ctypes, gc
import torch
import fusedstep.torch as ft

WIDTHS = [
    lambda p: ft.AdamW([p], master_weights=True, state_dtype="uint8"),
    lambda p: ft.OffloadedOptimizer(ft.AdamW, [p], state_dtype="uint8"),
    lambda p: ft.AdamW([p], master_weights=True),
]

def held():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    line = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
    return 1024 * int(line.split()[1])

def stepped(make, count):
    p = torch.nn.Parameter(torch.full((count,), 0.5, dtype=torch.bfloat16))
    optimizer = make(p)
    for _ in range(2):
        p.grad = torch.full_like(p, 0.25)
        optimizer.step()
    p.grad = None
    return p, optimizer

for make in WIDTHS:
    stepped(make, 1000)  # so memory that the libraries allocate only once is not counted below
for make in WIDTHS:
    before = held()
    kept = stepped(make, COUNT)
    print((held() - before) / COUNT)
    del kept
"""


def test_memory_is_the_bytes_of_the_parameters_and_states(torch: Any) -> None:
    """For each parameter, memory contains its bfloat16 value, the low 16 bits of its float32 weight, and two states.

    A state has 1 byte in `narrow` and `offloaded`, and 4 bytes in `wide`. Gradients are not counted.
    """
    script = SCRIPT.replace("COUNT", str(PARAMETERS))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    narrow, offloaded, wide = map(float, done.stdout.split())
    assert 6.0 <= narrow <= 6.2
    assert 6.0 <= offloaded <= 6.2
    assert 12.0 <= wide <= 12.2
