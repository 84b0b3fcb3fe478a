"""Count the instructions of fixed small steps with valgrind. Unlike a time, a count hardly differs between two runs.

A child process runs every workload (a step, a layer or a training step) under callgrind, valgrind's tool for counting.
A few lines of C switch the counting on before each workload and off after it. The child process uses one thread. It
uses AVX2, because valgrind does not support AVX-512.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fusedstep as fs
from fusedstep import _core, nn
from fusedstep._bench import report

CEILINGS = Path(__file__).with_name("instructions.json")
# A new ceiling is SLACK times the count. Another compiler or Python changes a count by less than 10%. An additional
# pass over the arrays changes a count by more than 10%.
SLACK = 1.10
REPEATS = 10  # steps in one count
HELPER = """
#include <valgrind/callgrind.h>
void begin(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
void end(void) { CALLGRIND_DUMP_STATS; CALLGRIND_STOP_INSTRUMENTATION; }
"""
ISA = "v3"
Workload = Callable[[], object]


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def stepper(rule: str, sizes: list[int], options: dict[str, Any] | None = None, **step: Any) -> Workload:
    params, grads = [normal(n) for n in sizes], [normal(n) for n in sizes]
    optimizer = fs.optim.registry[rule](params, **(options or {}))
    return lambda: optimizer.step(grads, **step)


def training() -> Workload:
    model, loss = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4), rng=0), nn.SoftmaxNLL()
    x, y, optimizer = normal(8, 16), np.arange(8) % 4, fs.Adam(model.params)

    def step() -> None:
        model.backward(loss.value_and_gradient(model.forward(x, training=True), y)[1])
        optimizer.step(model.grads)

    return step


def layers() -> dict[str, Workload]:
    x, y, key = normal(16_384), np.empty(16_384, np.float32), fs.Key(1)
    images, gamma, beta = normal(4, 16, 16, 16), np.ones(16, np.float32), np.zeros(16, np.float32)
    out, dx = np.empty_like(images), np.empty_like(images)
    _, saved = fs.batch_norm(images, gamma, beta)
    return {
        "dropout/16384": lambda: fs.dropout(x, 0.5, key, out=y),
        "batch_norm/4x16x16x16": lambda: fs.batch_norm(images, gamma, beta, out=out),
        "batch_norm_backward/4x16x16x16": lambda: fs.batch_norm_backward(out, saved, out=dx),
    }


def workloads() -> dict[str, Workload]:
    """Return the workloads.

    The workloads are a step of every element-wise optimizer on 8,192 elements, steps of Adam and AdamW with 100
    parameters or more options, the layers, and a training step of a small network.
    """
    every = {f"{rule}/8192": stepper(rule, [8192]) for rule, cls in fs.optim.registry.items() if cls.element_wise}
    full = {"clip_norm": 1.0, "zero_grads": True}
    every["Adam/100x64"] = stepper("Adam", [64] * 100)
    every["AdamW/full/100x64"] = stepper("AdamW", [64] * 100, {"weight_decay": 0.01, "ema_decay": 0.99}, **full)
    every["AdamW/full/8192"] = stepper("AdamW", [8192], {"weight_decay": 0.01, "ema_decay": 0.99}, **full)
    every["AdamW/l1/8192"] = stepper("AdamW", [8192], {"l1": 0.01}, clip_value=1.0)
    return every | layers() | {"training/16-32-4": training()}


def child(helper: str) -> None:
    """Run every workload, and count its instructions. `helper` is the path of the compiled C code."""
    if ISA in _core.available_isas():
        fs.set_isa(ISA)
    fs.set_num_threads(1)
    library = ctypes.CDLL(helper)
    for workload in workloads().values():
        for _ in range(3):
            workload()
        gc.collect()
        gc.disable()
        library.begin()
        for _ in range(REPEATS):
            workload()
        library.end()
        gc.enable()


def tool(*names: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    raise ValueError(f"the command instructions needs {names[0]}; install it with: apt-get install valgrind gcc")


def succeed(command: list[str], environment: dict[str, str] | None = None, text: str | None = None) -> None:
    done = subprocess.run(command, env=environment, input=text, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{Path(command[0]).name} must succeed; it failed and printed {done.stderr[-2000:]}")


def count() -> dict[str, int]:
    """Return the number of instructions of one step of every workload.

    Raises
    ------
    ValueError
        If valgrind or a C compiler is missing, or fails.
    """
    valgrind, compiler = tool("valgrind"), tool("cc", "gcc", "clang")
    with tempfile.TemporaryDirectory() as folder:
        helper = f"{folder}/helper.so"
        succeed([compiler, "-shared", "-fPIC", "-O2", "-x", "c", "-", "-o", helper], text=HELPER)
        options = ["--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out"]
        root = str(Path(__file__).resolve().parents[1])
        environment = os.environ | {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": root}
        python = [sys.executable, "-c", f"from bench.instructions import child; child({helper!r})"]
        succeed([valgrind, *options, *python], environment)
        names = list(workloads())
        totals = [total_of(Path(f"{folder}/out.{k}")) for k in range(1, len(names) + 1)]
    return {name: total // REPEATS for name, total in zip(names, totals, strict=True)}


def total_of(dump: Path) -> int:
    found = re.search(r"^(?:summary|totals): (\d+)", dump.read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"valgrind's file {dump.name} must contain the number of instructions; it contains none")
    return int(found[1])


def judge(counted: dict[str, int], ceilings: dict[str, int]) -> list[tuple[str, str, str, str]]:
    """Return rows of (workload, instructions, ceiling, verdict).

    A ceiling is the largest allowed number of instructions. If the number is allowed, the verdict is empty.
    """
    rows = []
    for name, instructions in counted.items():
        ceiling = ceilings.get(name)
        word = "no ceiling: use --update" if ceiling is None else "TOO MANY" if instructions > ceiling else ""
        rows.append((name, f"{instructions:,}", "-" if ceiling is None else f"{ceiling:,}", word))
    return rows


def check(update: bool) -> int:
    """Count the instructions of all workloads, and print the counts.

    If `update` is True, store new ceilings, which are 10% above the counts. Return 1 if a count is above its ceiling or
    has no ceiling, and 0 otherwise.
    """
    counted = count()
    if update:
        ceilings = {name: int(instructions * SLACK) for name, instructions in counted.items()}
        CEILINGS.write_text(json.dumps(ceilings, indent=1) + "\n")
    rows = judge(counted, json.loads(CEILINGS.read_text()))
    header = ("workload", "instructions per step", "ceiling", "")
    report.print_rows(f"Instructions with the instruction set {ISA} and one thread", header, rows)
    return int(any(word for *_, word in rows))
