"""torch and fusedstep share one pool of OpenMP threads, for every order of imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("threadpoolctl")

PROBE = """
import json, os
{imports}
import fusedstep.torch
from fusedstep import _core
from threadpoolctl import threadpool_info, threadpool_limits

def threads():
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0

p = torch.ones(2_000_000, requires_grad=True)
p.grad = torch.exp(p.detach() @ p.detach() * 0 * p.detach())
before = threads()
optimizer = fusedstep.torch.Adam([p])
optimizer.step()
backend = _core.backend()
_core.set_backend(backend)  # from now on, fusedstep keeps this back end, even if steps are slow on a busy machine
for _ in range(2):
    optimizer.step()
found = {{
    "backend": backend,
    "pools": [pool["filepath"] for pool in threadpool_info() if pool["user_api"] == "openmp"],
    "torch": torch.get_num_threads(),
    "ours": fs.num_threads(),
    "new": threads() - before,
}}
with threadpool_limits(1, user_api="openmp"):
    found["limited"] = fs.num_threads()
torch.set_num_threads(1)
found["torch limited"] = fs.num_threads()
optimizer.step()
print(json.dumps(found))
"""
ORDERS = {
    "torch first": "import torch\nimport fusedstep as fs",
    "fusedstep first": "import fusedstep as fs\nimport torch",
    "fusedstep first, with a step before the import of torch": (
        "import numpy as np\nimport fusedstep as fs\n"
        "w = np.ones(2_000_000)\nfs.SGD([w], lr=0.1).step([w.copy()])\nimport torch"
    ),
}


@pytest.mark.parametrize("order", ORDERS)
def test_torch_and_fusedstep_share_one_pool_in_every_import_order(order: str, torch: Any) -> None:
    """The pool contains OpenMP threads. A limit that threadpoolctl or torch sets also holds for fusedstep."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FUSEDSTEP_")}
    command = [sys.executable, "-c", PROBE.format(imports=ORDERS[order])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["pools"]) == 1, "torch and fusedstep must share one OpenMP library"
    assert found["backend"] == "openmp" and found["new"] == 0, "our steps must use only the threads of torch"
    assert found["ours"] <= found["torch"]
    assert found["limited"] == found["torch limited"] == 1
