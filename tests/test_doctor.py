"""``fusedstep doctor`` gives advice about each problem of a machine. For a machine without problems, it gives none."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fusedstep as fs
from fusedstep._base import machine
from fusedstep.cli import _advice, _footprint, _machine, doctor, main
from fusedstep.cli._advice import Figures, advise
from fusedstep.cli._machine import Library, Machine

HEALTHY = Machine("a CPU", 8, 8, None, 8, "threads", "v4", ("v4", "v3", "v2"), load=0.1, huge_pages="madvise")
FIGURES = Figures(10_000_000, copy=20.0, in_place=40.0, in_place_one=15.0, should=0.007, does=0.0071)
OPENBLAS, GOMP = Library("libopenblas.so", False, 8, "/a"), Library("libgomp.so.1", True, 8, "/b")
# A part of each advice, and the changes of `FIGURES` that cause this advice.
FIGURES_OF: dict[str, dict[str, Any]] = {
    "the shortest time that the memory's bandwidth allows": {"does": 0.0105},
    "One thread moves 15 GB/s, and 8 threads together move 16 GB/s": {"in_place": 16.0},
    "A matrix product of NumPy takes 4.0 x as long with all BLAS": {"product": 0.004, "product_one": 0.001},
}
# A part of each advice, and the changes of `HEALTHY` that cause this advice.
PROBLEMS: dict[str, dict[str, Any]] = {
    "Other processes keep about 7.5 of 8 CPUs busy": {"load": 7.5},
    "FUSEDSTEP_NUM_THREADS=1 limits steps to 1 of 8 CPUs": {"environment": {"FUSEDSTEP_NUM_THREADS": "1"}},
    "OMP_NUM_THREADS=2,1 limits steps to 2 of 8 CPUs": {"environment": {"OMP_NUM_THREADS": "2,1"}},
    "torchrun has started 2 processes for 8 CPUs, so each process should have 4 threads. Now each step uses 1": {
        "environment": {"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"},
        "threads": 1,
    },
    "OMP_NUM_THREADS=1 torchrun --nproc-per-node 16": {"environment": {"LOCAL_WORLD_SIZE": "16"}},
    "The container may use 1.5 of 8 CPUs. fusedstep uses 2 threads": {"quota": 1.5},
    "may run on 2 of 8 CPUs": {"affinity": 2},
    "is v2, but the CPU has v4: unset FUSEDSTEP_ISA": {"isa": "v2"},
    "no AVX2": {"isa": "v2", "isas": ("v2",)},
    "2 OpenMP runtimes are loaded: libgomp.so.1, libiomp5.so.": {
        "libraries": (GOMP, Library("libiomp5.so", True, 8, "/c"))
    },
    "libopenblas.so has 8 threads of its own": {"libraries": (OPENBLAS,), "backend": "openmp"},
    "libopenblas.so has 64 threads for 8 CPUs": {"libraries": (replace(OPENBLAS, threads=64),)},
    "OMP_WAIT_POLICY=ACTIVE": {"environment": {"OMP_WAIT_POLICY": "ACTIVE"}},
    "GOMP_SPINCOUNT=infinite": {"environment": {"GOMP_SPINCOUNT": "infinite"}},
    "Transparent huge pages are off": {"huge_pages": "never"},
}


@pytest.mark.parametrize("text", PROBLEMS)
def test_each_machine_problem_gives_exactly_one_advice(text: str) -> None:
    (advice,) = advise(replace(HEALTHY, **PROBLEMS[text]), FIGURES)
    assert text in advice


@pytest.mark.parametrize("text", FIGURES_OF)
def test_each_slow_measurement_gives_exactly_one_advice(text: str) -> None:
    (advice,) = advise(HEALTHY, replace(FIGURES, **FIGURES_OF[text]))
    assert text in advice


def test_every_advice_of_doctor_is_triggered_by_an_example_in_this_file() -> None:
    examples = [(replace(HEALTHY, **changes), FIGURES) for changes in PROBLEMS.values()]
    examples += [(HEALTHY, replace(FIGURES, **changes)) for changes in FIGURES_OF.values()]
    assert all(any(rule(*example) for example in examples) for rule in _advice.RULES)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"environment": {"OMP_NUM_THREADS": "8", "FUSEDSTEP_NUM_THREADS": "", "GOMP_SPINCOUNT": "1000"}},
        {"environment": {"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "4"}, "threads": 4},
        {"environment": {"LOCAL_WORLD_SIZE": "1", "OMP_NUM_THREADS": "8"}},
        {"quota": 8.0, "libraries": (OPENBLAS, GOMP), "load": None},
        {"isa": "generic", "isas": ("generic",), "huge_pages": ""},
        {"backend": "openmp", "libraries": (replace(OPENBLAS, threads=None),)},
    ],
)
def test_healthy_machine_gets_no_advice(changes: dict[str, Any]) -> None:
    assert advise(replace(HEALTHY, **changes), FIGURES) == []


def test_doctor_prints_cpu_isa_bandwidth_and_advice(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert main(["doctor", "--millions", "0.1", "--threads", "1", "--import", "json"]) == 0
    finally:
        fs.set_num_threads(None)
    out = capsys.readouterr().out
    for text in (
        "CPU: ",
        f"instruction set: {fs.isa()}",
        "--threads 1",
        "GB/s",
        "Adam, 0.1 million parameters: should",
    ):
        assert text in out
    assert "to change" in out  # "What to change" or "Nothing to change."


def test_doctor_explains_the_number_of_threads() -> None:
    machine = replace(HEALTHY, quota=2.5, affinity=4, environment={"OMP_NUM_THREADS": "3"})
    assert doctor.why(machine, None) == "the least of 8 CPUs, affinity 4, quota 2.5, OMP_NUM_THREADS=3"
    assert machine.granted == 3  # the quota, rounded up


def test_libraries_are_reported_without_threadpoolctl(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without threadpoolctl, `doctor` finds the names of OpenMP and BLAS libraries, but not their numbers of threads.

    Then it prints the command that installs threadpoolctl. The names are from /proc/self/maps.
    """
    maps = "7f00-7f01 r-xp 0 00:00 1 /usr/lib/libgomp.so.1.0.0\n7f02-7f03 r--p 0 00:00 2 /x/libscipy_openblas64_-3.so\n"
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    monkeypatch.setattr(_machine, "find_spec", lambda name: None)
    monkeypatch.setattr(_machine, "text_of", lambda path: maps if path.endswith("maps") else "")
    found = [(lib.name, lib.is_openmp, lib.threads) for lib in _machine.libraries()]
    assert found == [("libgomp.so.1.0.0", True, None), ("libscipy_openblas64_-3.so", False, None)]
    assert main(["doctor", "--millions", "0.01"]) == 0
    assert "pip install 'fusedstep[doctor]'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--millions", "0"], "--millions: must be a finite number >= 0.001"),
        (["--params", "0"], "--params: must be a finite number >= 1 and <= 1e+15; got '0'"),
        (["--params", "7B"], "--params: must be a finite number >= 1 and <= 1e+15; got '7B'"),
        (["--import", "a_package_that_nobody_has"], "--import: cannot import 'a_package_that_nobody_has'"),
    ],
)
def test_wrong_argument_of_doctor_prints_one_line_and_exits_with_2(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(["doctor", *arguments])
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    err = capsys.readouterr().err
    assert status == 2 and text in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("k", "dtype", "options"),
    [
        (0, np.float32, {}),
        (2, ml_dtypes.bfloat16, {"master_weights": True, "state_dtype": "float32"}),
        (3, ml_dtypes.bfloat16, {"master_weights": True, "state_dtype": "bfloat16"}),
        (4, ml_dtypes.bfloat16, {"master_weights": True, "state_dtype": "uint8"}),
    ],
)
def test_memory_settings_of_doctor_agree_with_the_memory_of_an_optimizer(
    k: int, dtype: Any, options: dict[str, Any]
) -> None:
    """`SETTINGS[k]` must have as many bytes per parameter as AdamW with `dtype` and `options`."""
    (group,) = fs.inspect.memory(fs.AdamW([np.zeros(1024, dtype)], **options)).groups
    setting = _footprint.SETTINGS[k]
    assert (setting.weights, setting.gradient, setting.kept) == (group.weights, group.gradients, group.kept_bits)
    assert setting.states == group.states + group.scales
    assert setting.held == group.total


def test_table_of_memory_settings_says_if_a_setting_fits_and_how_long_a_step_takes() -> None:
    """A setting is a combination of dtypes. `memory` is in bytes, and `bandwidth` is in GB/s."""
    rows = _footprint.rows(10**9, memory=16 * 10**9, bandwidth=28.0)
    assert [row[-2] for row in rows] == ["yes", "yes", "yes", "yes", "yes"]
    assert [row[-1] for row in rows] == ["1 s", "1.43 s", "0.93 s", "0.644 s", "0.503 s"]
    fits = [row[-2] for row in _footprint.rows(10**9, memory=9 * 10**9, bandwidth=28.0)]
    assert fits == ["no", "no", "no", "no", "yes"]
    assert {row[-2] for row in _footprint.rows(10**9, None, 28.0)} == {"unknown"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8192),
        ({"memory.max": "5000", "memory.current": "3000", "memory.stat": "anon 9\ninactive_file 500\n"}, 2500),
        ({"memory.max": "max", "memory.current": "3000"}, 8192),
        ({"memory.limit_in_bytes": "5000", "memory.usage_in_bytes": "6000"}, 0),
        ({"memory.limit_in_bytes": "9223372036854771712", "memory.usage_in_bytes": "6000"}, 8192),
    ],
)
def test_available_memory_is_the_least_of_machine_and_container(
    files: dict[str, str], expected: int, tmp_path: Path
) -> None:
    """A container can use its limit minus its usage. Inactive pages of files do not count as usage.

    `expected` is in bytes.
    """
    (tmp_path / "meminfo").write_text("MemTotal: 99 kB\nMemAvailable:    8 kB\n")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert machine.available(str(tmp_path / "meminfo"), iter([str(tmp_path)])) == expected
    assert machine.available(str(tmp_path / "none"), iter([])) is None


def test_doctor_with_params_prints_the_table_of_memory_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """For 1e15 parameters, every setting needs too much memory. So each setting's line must contain "no"."""
    assert main(["doctor", "--millions", "0.01", "--params", "1e15"]) == 0
    out = capsys.readouterr().out
    assert "AdamW, 1e+15 parameters" in out and "GB available" in out
    for setting in _footprint.SETTINGS:
        (line,) = (line for line in out.splitlines() if line.startswith(setting.name + "  "))
        assert f"{setting.held:.2f}" in line.split() and "no" in line.split()
