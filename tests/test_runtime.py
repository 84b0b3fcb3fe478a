"""Instruction sets, threads, forks and imports."""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import _core
from fusedstep._base import threads as _threads
from support.bits import every_dtype
from support.interpreters import in_child, python
from support.machines import BACKENDS
from support.oracle import every_class

PROBE = "import fusedstep as fs; from fusedstep import _core; print(fs.isa(), _core.backend(), fs.num_threads())"


@pytest.mark.thread_unsafe
def test_set_isa_selects_an_instruction_set_by_name_and_refuses_unknown_names() -> None:
    for name in _core.available_isas():
        fs.set_isa(name)
        assert fs.isa() == name
    # CPUs other than x86-64 have only "generic"
    with pytest.raises(ValueError, match=r'^set_isa: name must be one of "v4", "v3", "v2"; got "v5"$|"generic"; got'):
        fs.set_isa("v5")
    assert fs.isa() == _core.available_isas()[-1]


def test_environment_variables_are_read_at_the_import() -> None:
    """Empty variables have no effect. In the second process, OMP_NUM_THREADS limits the number of threads."""
    isa, backend = _core.available_isas()[-1], BACKENDS[0]
    done = python(PROBE, FUSEDSTEP_ISA=isa, FUSEDSTEP_BACKEND=backend, FUSEDSTEP_NUM_THREADS="1")
    assert done.stdout.split() == [isa, backend, "1"], done.stderr
    done = python(PROBE, FUSEDSTEP_ISA="", FUSEDSTEP_BACKEND="", FUSEDSTEP_NUM_THREADS="", OMP_NUM_THREADS="1")
    assert done.stdout.split() == [_core.available_isas()[0], "threads", "1"], done.stderr


@pytest.mark.parametrize(
    ("name", "value", "need"),
    [
        ("FUSEDSTEP_ISA", "avx2", "name must be one of"),
        ("FUSEDSTEP_BACKEND", "tbb", 'name must be "threads", or "openmp"'),
        ("FUSEDSTEP_NUM_THREADS", "0", "n must be from 1 to 65536; got 0"),
        ("FUSEDSTEP_NUM_THREADS", "two", "must be a whole number"),
    ],
)
def test_import_error_names_a_wrong_environment_variable(name: str, value: str, need: str) -> None:
    done = python("import fusedstep", **{name: value})
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: environment variable {name}='{value}': ")
    assert need in last


def test_thread_pool_works_without_libgomp(tmp_path: Path) -> None:
    """The OpenMP backend needs libgomp. Without libgomp, FUSEDSTEP_BACKEND="openmp" makes the import fail."""
    (tmp_path / "libgomp.so.1").write_bytes(b"")  # the loader finds this file first, and cannot load it
    done = python(
        PROBE + "; import numpy as np; fs.Adam([np.ones(100_000)]).step([np.ones(100_000)])",
        LD_LIBRARY_PATH=str(tmp_path),
    )
    assert done.stdout.split()[1:] == ["threads", str(_threads.machine_limit())], done.stderr
    done = python("import fusedstep", LD_LIBRARY_PATH=str(tmp_path), FUSEDSTEP_BACKEND="openmp")
    assert "if libgomp.so.1 can be loaded" in done.stderr


@pytest.mark.skipif("openmp" not in BACKENDS, reason="needs libgomp.so.1")
def test_openmp_backend_is_used_if_another_package_has_loaded_libgomp() -> None:
    """`ctypes` loads libgomp after the import of fusedstep. With FUSEDSTEP_BACKEND="threads", this has no effect."""
    again = "; import ctypes; ctypes.CDLL('libgomp.so.1'); fs.num_threads(); print(_core.backend())"
    assert python(PROBE + again).stdout.split()[1::2] == ["threads", "openmp"]
    done = python(PROBE + again, FUSEDSTEP_BACKEND="threads")
    assert done.stdout.split()[1::2] == ["threads", "threads"], done.stderr


@pytest.mark.thread_unsafe
def test_number_of_threads_is_limited_by_set_num_threads_and_the_machine() -> None:
    """A number above the limit of the machine, such as 1000, has the effect of the limit.

    `set_num_threads` refuses 0, negative numbers, numbers above 65,536, and values that are not integers.
    """
    limit = fs.num_threads()
    fs.set_num_threads(1)
    assert fs.num_threads() == 1
    fs.set_num_threads(np.int64(1000))
    assert fs.num_threads() == limit
    fs.set_num_threads(None)
    assert fs.num_threads() == limit <= _threads.machine_limit()
    for value, error in ((0, ValueError), (-1, ValueError), (70_000, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match=f"set_num_threads: n must be .*; got {value}"):
            fs.set_num_threads(value)


@pytest.mark.parametrize(
    ("quotas", "openmp", "want"), [([1.5], "", 2), ([0.2], "", 1), ([9.0], "3,2", 3), ([], "x", 8)]
)
def test_cpu_quota_of_a_container_is_rounded_up_to_whole_threads(
    quotas: list[float], openmp: str, want: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process may run on 8 CPUs. The first number in OMP_NUM_THREADS is another limit. "x" is ignored."""
    monkeypatch.setattr(_threads, "quotas", lambda: quotas)
    monkeypatch.setattr(_threads, "affinity", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", openmp)
    assert _threads.machine_limit() == want


def test_import_loads_few_packages_and_changes_nothing() -> None:
    """Apart from fusedstep, only NumPy and the standard library are loaded. No thread starts. Denormals still work."""
    code = """
import sys, threading, numpy
before = set(sys.modules)
import fusedstep
new = {name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
assert new <= {"fusedstep", "numpy"}, new
assert not {"fusedstep." + part for part in ("cli", "init", "nn", "schedules")} & set(sys.modules)
assert sys.float_info.min / 2 != 0 and numpy.float32(1e-38) / numpy.float32(8) != 0, "denormals"
assert threading.active_count() == 1 and len(__import__("os").listdir("/proc/self/task")) <= THREADS
"""
    done = python(code.replace("THREADS", "1"), OPENBLAS_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr


@every_dtype
def test_kernels_keep_denormals(dtype: Any) -> None:
    tiny = np.finfo(dtype).smallest_subnormal  # the smallest positive number: half of it is rounded to 0
    for isa in _core.available_isas():
        fs.set_isa(isa)
        p, g = np.full(100, 8 * tiny, dtype), np.full(100, 2 * tiny, dtype)
        fs.SGD([p], lr=1.0).step([g])
        assert (p == 6 * tiny).all() and tiny != 0 and tiny / 2 == 0


@pytest.mark.thread_unsafe
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("backend", BACKENDS)
def test_forked_child_steps_with_one_thread_and_the_parent_with_all(backend: str, rng: np.random.Generator) -> None:
    """The parent has four threads. The child takes a step, forks another process, and waits for its end."""
    _core.set_backend(backend)
    _core.force_threads(4)
    p, g = rng.standard_normal((2, 200_000))
    opt = fs.Adam([p])
    opt.step([g])

    def step_on() -> bool:
        opt.step([g], clip_norm=1.0)
        return (fs.num_threads() == 1 and os.fork() == 0) or os.wait()[1] == 0

    assert in_child(step_on)
    mine = p.copy()
    opt.step([g])
    assert fs.num_threads() == 4, "the parent must keep its four threads"
    assert (p != mine).any()


class Meanwhile:
    """A gradient that calls `act` when a step reads the gradient through DLPack."""

    def __init__(self, gradient: Any, act: Callable[[], Any]) -> None:
        self.gradient, self.act = gradient, act

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __dlpack__(self, **options: Any) -> Any:
        self.act()
        return self.gradient.__dlpack__(**options)


def elsewhere(act: Callable[[], Any]) -> str:
    """Call `act` in another thread. Return the message of its RuntimeError, or an empty string."""
    errors: list[str] = []

    def call() -> None:
        try:
            act()
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return "".join(errors)


@every_class
def test_two_threads_cannot_step_one_optimizer_at_once(cls: Any) -> None:
    """While a step reads its gradient, another thread tries to step, to change a group, and to load a state.

    All attempts are refused. Afterwards, the parameters are those of `twin`, which takes the same steps undisturbed.
    """
    g, said = [np.ones(3)], []
    opt, twin = (cls([np.ones(3)], lr=0.1) for _ in range(2))
    state = opt.state_dict()
    intrusions: list[Callable[[], Any]] = [
        lambda: opt.step(g),
        lambda: opt.step(g, lr=5.0),
        lambda: opt.groups[0].update(lr=5.0),
        lambda: opt.load_state_dict(state),
    ]
    opt.step([Meanwhile(g[0], lambda: said.extend(elsewhere(act) for act in intrusions))], lr=0.3)
    assert (
        said[:2]
        == [f"{cls.__name__}.step: one thread at a time may step an optimizer; another thread is stepping it"] * 2
    )
    assert said[2:] == [
        f"{cls.__name__}: cannot be changed while another thread steps it",
        f"{cls.__name__}.load_state_dict: cannot be called while another thread steps the optimizer",
    ]
    twin.step(g, lr=0.3)
    assert opt.params[0].tobytes() == twin.params[0].tobytes() and opt.steps == 1
    opt.step(g)
    twin.step(g)
    assert opt.params[0].tobytes() == twin.params[0].tobytes()


def test_step_raises_the_error_of_a_list_of_gradients_that_cannot_be_iterated() -> None:
    """After the error, the optimizer can take a step."""

    class Failing(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            raise ZeroDivisionError

    opt = fs.SGD([np.ones(3)])
    with pytest.raises(ZeroDivisionError):
        opt.step(Failing([np.ones(3)]))
    opt.step([np.ones(3)])


def test_error_message_names_the_gradient_whose_dlpack_method_fails() -> None:
    """After the error, the optimizer can take a step."""
    opt = fs.SGD([np.ones(3)])
    got = "an object of class Meanwhile, whose DLPack methods raised ZeroDivisionError: "
    with pytest.raises(ValueError, match=rf"SGD.step: grads\[0\] must be readable by DLPack; got {got}"):
        opt.step([Meanwhile(np.ones(3), lambda: 1 // 0)])
    opt.step([np.ones(3)])


@pytest.mark.thread_unsafe
@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="no GIL here")
def test_step_releases_the_gil() -> None:
    """A second Python thread waits for a lock. The second thread can run only if a step releases the GIL."""
    p, g = np.zeros(1_000_000), np.ones(1_000_000)
    opt, gate, ran = fs.Adam([p]), threading.Lock(), []
    gate.acquire()
    thread = threading.Thread(target=lambda: ran.append(gate.acquire()))
    thread.start()
    before = sys.getswitchinterval()
    sys.setswitchinterval(600)  # for the next 600 s, Python does not pass the GIL to the other thread by itself
    try:
        gate.release()
        assert sum(range(1_000_000)) and not ran  # `sum` does not release the GIL
        steps = 0
        while not ran and steps < 1000:
            opt.step([g])
            steps += 1
        assert ran
    finally:
        sys.setswitchinterval(before)
        thread.join()


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="a Python that always has a GIL")
def test_import_does_not_enable_the_gil() -> None:
    done = python("import fusedstep, sys; print(sys._is_gil_enabled())", PYTHON_GIL="")
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("backend", BACKENDS)
def test_several_threads_may_step_their_own_optimizers_at_once(backend: str, rng: np.random.Generator) -> None:
    """Six Python threads take 20 steps each, from equal parameters.

    Afterwards, all parameters have the bits of 20 steps in the main thread alone.
    """
    _core.set_backend(backend)
    _core.force_threads(2)
    start, g = rng.standard_normal((2, 100_000))
    params = [start.copy() for _ in range(6)]

    def work(p: Any) -> None:
        opt = fs.Adam([p])
        for _ in range(20):
            opt.step([g], clip_norm=1.0)

    threads = [threading.Thread(target=work, args=(p,)) for p in params]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    work(start)
    assert {p.tobytes() for p in params} == {start.tobytes()}


def tree(root: Path, files: dict[str, str]) -> Path:
    """Write files with these names and texts below `root`. Return `root`."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


# Two files of a control group of version 1. The quota, in CPUs, is the number in the first file divided by the number
# in the second file.
V1 = "cpu.cfs_quota_us", "cpu.cfs_period_us"
# Each value is (text of /proc/self/cgroup, files below /sys/fs/cgroup, expected quotas in CPUs).
CGROUPS: dict[str, tuple[str, dict[str, str], list[float]]] = {
    "none": ("0::/\n", {}, []),
    "v2": ("0::/job\n", {"job/cpu.max": "150000 100000\n"}, [1.5]),
    "v2 unlimited": ("0::/job\n", {"job/cpu.max": "max 100000\n"}, []),
    "v2 nested": ("0::/a/b\n", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "max 100000"}, [4.0]),
    "v2 path on the host of a container": ("0::/host/path\n", {"cpu.max": "200000 100000"}, [2.0]),
    "v2 path outside the root": ("0::/../../x\n", {"cpu.max": "200000 100000"}, [2.0]),
    "v2 garbled": ("0::/a\n", {"a/cpu.max": "what"}, []),
    "v1": ("3:cpu,cpuacct:/job\n", {f"cpu/job/{V1[0]}": "50000\n", f"cpu/job/{V1[1]}": "100000\n"}, [0.5]),
    "v1 unlimited": ("3:cpu:/job\n", {f"cpu/job/{V1[0]}": "-1\n", f"cpu/job/{V1[1]}": "100000\n"}, []),
    "v1 no cpu": ("4:memory:/job\n", {f"cpu/job/{V1[0]}": "50000\n", f"cpu/job/{V1[1]}": "100000\n"}, []),
    "v1 garbled": ("3:cpu:/job\n", {f"cpu/job/{V1[0]}": "what\n", f"cpu/job/{V1[1]}": "0\n"}, []),
    "v1 period 0": ("3:cpu:/job\n", {f"cpu/job/{V1[0]}": "50000\n", f"cpu/job/{V1[1]}": "0\n"}, []),
    "name with colons": ("0::/a:b\n", {"a:b/cpu.max": "300000 100000"}, [3.0]),
}


@pytest.mark.parametrize("case", CGROUPS)
def test_cpu_quotas_are_read_from_control_groups(case: str, tmp_path: Path) -> None:
    """Without the file that names the control groups of the process, no quotas are found."""
    lines, files, want = CGROUPS[case]
    root = tree(tmp_path / "root", files)
    cgroups = tmp_path / "cgroup"
    cgroups.write_text(lines)
    assert sorted(_threads.quotas(root, cgroups)) == want
    assert list(_threads.quotas(root, tmp_path / "missing")) == []
