"""Importing and using fusedstep does not change any setting of the process."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest

from support.interpreters import python

pytest.importorskip("threadpoolctl")
if not sys.platform.startswith("linux"):
    pytest.skip("some settings of a process are read from Linux's /proc", allow_module_level=True)

LOOK = """
from support.surroundings import *
before = snapshot()
{imports}
compare(before, "the import")
{use}
compare(before, "the use")
"""
CORE = """
fs._core.force_threads(2)
x = np.ones((300, 400), np.float32)
fs.Adam([x], ema_decay=0.9).step([np.full_like(x, 1e-40)], clip_norm=1.0)
fs.batch_norm_backward(x, fs.batch_norm(fs.dropout(x, 0.5, fs.Key(1)))[1])
fs.schedules.cosine(0.1, 10)(3)
fs.nn.Sequential(fs.nn.Linear(3, 2), rng=np.random.default_rng(0))
fs.augment, fs.ensemble, fs.init, fs.inspect, fs.stopping
"""
TORCH = """
p = torch.ones(100_000, requires_grad=True)
p.grad = torch.full_like(p, 1e-40)
fusedstep.torch.Adam([p], clip_norm=1.0).step()
fusedstep.torch.BatchNorm1d(3)(torch.ones(4, 3))
"""
OF_TORCH = """
LOOKS["torch"] = lambda: (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled())
LOOKS["random numbers of torch"] = lambda: bytes(torch.get_rng_state())
before = snapshot()
"""
SKLEARN = """
fusedstep.sklearn.MLPClassifier((4,), tol=10, n_iter_no_change=2, random_state=0).fit(np.eye(6, 3), [0, 1] * 3)
"""
FLUSH = "e = (ctypes.c_uint * 8)(); C.fegetenv(e); e[7] |= 0x8040; C.fesetenv(e)"  # in glibc, e[7] is MXCSR


def assert_runs(code: str) -> None:
    """Run code in a new interpreter, and assert that it ends without an error."""
    done = python(code, PYTHONPATH=str(Path(__file__).parent))
    assert done.returncode == 0, done.stderr


def test_importing_and_using_fusedstep_changes_no_setting_of_the_process() -> None:
    assert_runs(LOOK.format(imports="import fusedstep as fs", use=CORE))


def test_importing_and_using_fusedstep_torch_changes_no_setting_of_the_process(torch: object) -> None:
    """Torch itself changes settings at its first use. So the test uses torch once before the first snapshot."""
    imports = "import torch; torch.nn.BatchNorm1d(3)(torch.ones(4, 3)); torch.optim.Adam([torch.ones(1)]).step()"
    assert_runs(
        "from support.surroundings import *\n"
        + imports
        + OF_TORCH
        + LOOK.format(imports="import fusedstep.torch", use=TORCH)
    )


def test_importing_and_using_fusedstep_sklearn_changes_no_setting_of_the_process() -> None:
    pytest.importorskip("sklearn")
    first = "from support.surroundings import *; import sklearn.neural_network; LOOKS['sklearn'] = sklearn.get_config"
    assert_runs(first + LOOK.format(imports="import fusedstep.sklearn", use=SKLEARN))


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("signal handlers", "signal.signal(signal.SIGINT, signal.SIG_IGN)"),
        ("signals", "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])"),
        ("environment", "os.environ['OMP_NUM_THREADS'] = '1'"),
        ("warnings", "warnings.simplefilter('ignore')"),
        ("NumPy", "np.seterr(invalid='raise')"),
        ("rounding", "C.fesetround(0x400)"),
        pytest.param("denormals", FLUSH, marks=pytest.mark.skipif(platform.machine() != "x86_64", reason="no MXCSR")),
        ("finding modules", "sys.path_hooks.append(print)"),
        ("random numbers", "np.random.rand()"),
    ],
)
def test_snapshot_of_settings_detects_a_change_of_a_setting(name: str, fault: str) -> None:
    code = f"from support.surroundings import *; before = snapshot(); {fault}; compare(before, 'a fault')"
    done = python(code, PYTHONPATH=str(Path(__file__).parent))
    assert "a fault changed {" in done.stderr and f"'{name}': (" in done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs os.sched_setaffinity")
def test_step_starts_no_thread_if_the_process_is_limited_to_one_cpu() -> None:
    assert_runs("""
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import numpy as np, fusedstep as fs
before = len(os.listdir("/proc/self/task"))
p = np.ones(5_000_000, np.float32)
fs.Adam([p]).step([p.copy()])
assert fs.num_threads() == 1 and len(os.listdir("/proc/self/task")) == before
""")
