"""Steps in several threads, after forks, in process pools, and in parallel regions of other libraries.

In each case, a step gives the same bits as a step that runs alone, or raises an error. Subinterpreters are refused.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import shutil
import subprocess
import threading
from multiprocessing import shared_memory
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import _core
from support.bits import Array
from support.interpreters import in_child, python
from support.machines import BACKENDS

SIZE = 100_000
every_backend = pytest.mark.parametrize("backend", BACKENDS)
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
pytestmark = pytest.mark.filterwarnings(
    "ignore:This process:DeprecationWarning"
)  # Python warns about a fork in a process with threads


def start(seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(SIZE)


def train(p: Array, steps: int = 3) -> Array:
    """Return the parameters after some steps. The gradients depend only on the number of the step."""
    opt = fs.Adam([p], lr=0.1)
    for k in range(steps):
        opt.step([np.sin(np.arange(p.size) * (k + 1.0))], clip_norm=1.0)
    return p


def trained(seed: int) -> bytes:
    return train(start(seed)).tobytes()


@every_backend
def test_simultaneous_steps_of_one_optimizer_are_refused(backend: str) -> None:
    """A step is complete, or raises an error and changes nothing. A saved state is the state after a complete step."""
    _core.set_backend(backend)
    _core.force_threads(2)
    g, states, refused = np.full(SIZE, 0.25), [], []
    opt, twin = fs.SGD([np.zeros(SIZE)], lr=0.5, momentum=0.5), fs.SGD([np.zeros(SIZE)], lr=0.5, momentum=0.5)

    def work(act: Any) -> None:
        for _ in range(30):
            try:
                act()
            except RuntimeError as error:
                refused.append(str(error))

    acts = [lambda: opt.step([g])] * 3 + [lambda: states.append(opt.state_dict())]
    threads = [threading.Thread(target=work, args=(act,)) for act in acts]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert opt.steps + len(states) + len(refused) == 120 and opt.steps  # 30 calls in each of 4 threads
    momenta = [twin.state[0]["momentum_buffer"].tobytes()]
    for _ in range(opt.steps):
        twin.step([g])
        momenta.append(twin.state[0]["momentum_buffer"].tobytes())
    assert opt.params[0].tobytes() == twin.params[0].tobytes()
    for state in states:
        assert state["state"][0]["momentum_buffer"].tobytes() == momenta[state["step"]]
    words = "one thread at a time may step", "inside state_dict()", "cannot be called while another thread steps"
    assert all(any(w in text for w in words) for text in refused)


@forks
@every_backend
def test_a_child_forked_during_a_step_can_step_only_other_optimizers(backend: str) -> None:
    """If a process forks during a step of an optimizer, only the parent can step this optimizer afterwards.

    In the child, the steps of other optimizers use one thread.
    """
    _core.set_backend(backend)
    _core.force_threads(2)
    assert in_child(lambda: trained(1) == trained(1) != b"")
    want = trained(2)
    opt, stop = fs.Adam([np.zeros(3_000_000)]), threading.Event()
    g = [np.ones(3_000_000)]

    def work() -> None:
        while not stop.is_set():
            opt.step(g)

    def look() -> bool:
        if trained(2) != want or fs.num_threads() != 1:
            return False
        try:
            opt.step(g)
        except RuntimeError as error:
            return "one thread at a time" in str(error)
        return True  # the fork was between two steps

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert all(in_child(look) for _ in range(5))
    finally:
        stop.set()
        thread.join()
    before = opt.steps
    opt.step(g)
    assert opt.steps == before + 1


@every_backend
def test_the_process_can_end_during_a_step(backend: str) -> None:
    """The step runs in a daemon thread. The status of the process is 0, and no error is printed."""
    script = (
        "import threading, numpy as np, fusedstep as fs\n"
        "p, g, started = np.zeros(2_000_000), np.ones(2_000_000), threading.Event()\n"
        "def work():\n"
        "    opt = fs.Adam([p])\n"
        "    while True: opt.step([g]); started.set()\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "started.wait(50)"
    )
    done = python(script, FUSEDSTEP_BACKEND=backend)
    assert (done.returncode, done.stderr) == (0, "")


def in_shared_memory(name: str, at: int) -> bytes:
    """Train one of two arrays that the shared memory contains. `at` is 0 or 1. Return the bytes of the array."""
    memory = shared_memory.SharedMemory(name)
    try:
        return train(np.ndarray(SIZE, np.float64, memory.buf, 8 * SIZE * at)).tobytes()
    finally:
        memory.close()


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_processes_can_train_arrays_in_shared_memory(method: str) -> None:
    """Each of two processes trains one array. The bits are the same as after a training in one process."""
    train(start(0))  # starts the thread pool before the fork
    memory = shared_memory.SharedMemory(create=True, size=16 * SIZE)
    try:
        np.ndarray((2, SIZE), np.float64, memory.buf)[...] = start(3), start(4)
        with multiprocessing.get_context(method).Pool(2) as pool:
            done = pool.starmap_async(in_shared_memory, [(memory.name, 0), (memory.name, 1)]).get(120)
        assert done == [trained(3), trained(4)] == [bytes(memory.buf[at : at + 8 * SIZE]) for at in (0, 8 * SIZE)]
    finally:
        memory.close()
        memory.unlink()


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_of_joblib_train_with_the_same_bits(backend: str) -> None:
    """The trained parameters have the same bits as without joblib."""
    joblib = pytest.importorskip("joblib")
    jobs = [joblib.delayed(trained)(seed) for seed in range(4)]
    assert joblib.Parallel(n_jobs=2, backend=backend)(jobs) == [trained(seed) for seed in range(4)]


class Dropped:
    """A data set whose rows are results of fusedstep's dropout."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, k: int) -> Array:
        return fs.dropout(start(k), 0.5, fs.Key(k))


def test_workers_of_a_data_loader_draw_the_same_dropout(torch: ModuleType) -> None:
    """With 0 and with 2 workers, the rows have the same bits as without a data loader."""
    from torch.utils.data import DataLoader

    train(start(0))  # starts the thread pool before the workers start
    for workers in (0, 2):
        rows = np.concatenate([batch.numpy() for batch in DataLoader(Dropped(), batch_size=3, num_workers=workers)])
        assert rows.tobytes() == b"".join(Dropped()[k].tobytes() for k in range(8))


def test_steps_are_right_while_torch_threads_run(torch: ModuleType) -> None:
    """While two threads multiply matrices with torch, a training has the same bits as without these threads."""
    want, product = trained(5), torch.ones(600, 600)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            product @ product

    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    try:
        assert all(trained(5) == want for _ in range(5))
    finally:
        stop.set()
        for t in threads:
            t.join()


REGION = """
#include <omp.h>
void in_region(int threads, void (*call)(int)) {
#pragma omp parallel num_threads(threads)
  call(omp_get_thread_num());
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
@every_backend
def test_steps_in_an_openmp_region_of_another_library_have_the_same_bits(backend: str, tmp_path: Path) -> None:
    """The trained parameters have the same bits as outside of the region."""
    (tmp_path / "region.c").write_text(REGION)
    library = tmp_path / "region.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-fopenmp", "-o", library, tmp_path / "region.c"], check=True)
    _core.set_backend(backend)
    found: dict[int, bytes] = {}
    limits: list[int] = []

    def call(thread: int) -> None:
        limits.append(fs.num_threads())
        found[thread] = trained(thread)

    region = ctypes.CDLL(str(library))
    region.in_region(4, ctypes.CFUNCTYPE(None, ctypes.c_int)(call))
    assert found == {thread: trained(thread) for thread in range(4)}
    assert backend != "openmp" or limits == [1] * 4, "a step in a parallel region must use one thread"


IMPORT_ELSEWHERE = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
code = "import warnings; warnings.simplefilter('ignore'); import fusedstep"
isolated, main_first = {isolated}, {main_first}
if main_first:
    import fusedstep
if sys.version_info >= (3, 13):
    print(interpreters.exec(interpreters.create("isolated" if isolated else "legacy"), code).formatted)
else:
    try:
        interpreters.run_string(interpreters.create(isolated=isolated), code)
    except interpreters.RunFailedError as error:
        print(error)
import fusedstep, numpy
p = numpy.ones(1)
fusedstep.SGD([p], lr=1.0).step([p + 1])
print(p)
"""


@pytest.mark.parametrize("main_first", [False, True])
@pytest.mark.parametrize("isolated", [True, False])
def test_subinterpreters_are_refused(isolated: bool, main_first: bool) -> None:
    """A subinterpreter cannot import the package. In the main interpreter, the package works.

    If `main_first` is true, the main interpreter imports the package first, else the subinterpreter tries first.
    """
    done = python(IMPORT_ELSEWHERE.format(isolated=isolated, main_first=main_first))
    refused = r"(<class ')?ImportError('>)?: (module )?fusedstep.* subinterpreters?\n"
    assert re.fullmatch(refused + r"\[-1.\]\n", done.stdout) and done.returncode == 0, (done.stdout, done.stderr)
