"""``fusedstep doctor`` reports the limits of this machine, measures the time of a step, and gives advice."""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

import fusedstep

from .. import _core
from . import _footprint
from ._advice import Figures, advise
from ._errors import UsageError
from ._machine import Machine, look
from ._report import Screen

# Bytes that a step of Adam moves per float32 parameter. The parameter and its two states are read and written (6 times
# 4 bytes), and the gradient is read (4 bytes).
ADAM_BYTES = 28
PRODUCTS = 20
ROUNDS = 7  # largest number of rounds of `measure`
BUDGET = 2.0  # seconds after which no further round starts; the first 3 rounds are always run

Rows = list[tuple[str, str]]


def run(args: argparse.Namespace) -> int:
    """Collect facts, measure and print advice. Return 0."""
    for name in args.imports:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UsageError(f"--import: cannot import {name!r}: {error}") from None
    parameters = round(args.millions * 1e6)
    figures = measure(parameters)
    machine = look()  # called after a step, which has loaded the libraries
    screen = Screen(plain=find_spec("rich") is None)
    screen.facts("Machine", machine_rows(machine, args.threads))
    screen.facts("Measured", figure_rows(machine, figures))
    if args.params is not None:
        heads = [f"AdamW, {args.params:g} parameters", *_footprint.COLUMNS]
        screen.table("Memory", heads, _footprint.rows(round(args.params), machine.memory, figures.in_place))
        screen.line(
            '(Activations are not included. "shortest step" is the number of bytes that a step moves, divided by the '
            "bandwidth of Adam's memory traffic above.)"
        )
    advice = advise(machine, figures)
    screen.line("What to change" if advice else "Nothing to change.")
    for text in advice:
        screen.line(f"- {text}")
    if not machine.has_threadpoolctl:
        screen.line("(To see the number of threads of each library, run: pip install 'fusedstep[doctor]')")
    return 0


def measure(parameters: int) -> Figures:
    """Measure the bandwidth of the memory, and the times of an Adam step and of a matrix product.

    Each round measures the times of a copy, of an Adam step, and of a loop with the memory traffic of this step but
    without its arithmetic. The results are computed from the medians of these times over the rounds. Matrix products
    are measured once, after the rounds.
    """
    rng = np.random.default_rng(0)
    block = rng.standard_normal(1 << 16, dtype=np.float32)
    g, p, a, b = (np.resize(block, parameters) for _ in range(4))
    optimizer = fusedstep.Adam([p], lr=1e-6)
    threads = fusedstep.num_threads()
    calls: list[Callable[[], object]] = [
        lambda: np.copyto(a, b),
        lambda: _core.roofline([p, a, b], g, threads),
        lambda: _core.roofline([p, a, b], g, 1),
        lambda: optimizer.step([g]),
    ]
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + BUDGET
    for done in range(ROUNDS):
        if done >= 3 and time.perf_counter() > end:
            break
        for call, samples in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            samples.append(time.perf_counter() - start)
    copy, many, one, does = (statistics.median(samples) for samples in times)
    traffic = ADAM_BYTES * parameters / 1e9
    return Figures(
        parameters, 8 * parameters / 1e9 / copy, traffic / many, traffic / one, many, does, *measure_products()
    )


def measure_products() -> tuple[float, float]:
    """Return the mean times of a matrix product of NumPy, first with all threads of BLAS and then with one thread.

    If threadpoolctl is missing, return 0 and 0.
    """
    if find_spec("threadpoolctl") is None:
        return 0.0, 0.0
    libraries = importlib.import_module("threadpoolctl").ThreadpoolController().select(user_api="blas")
    a = np.ones((256, 256), np.float32)
    out = np.empty_like(a)

    def mean_time() -> float:
        np.dot(a, a, out)
        start = time.perf_counter()
        for _ in range(PRODUCTS):
            np.dot(a, a, out)
        return (time.perf_counter() - start) / PRODUCTS

    several = mean_time()
    with libraries.limit(limits=1):
        return several, mean_time()


def machine_rows(machine: Machine, wish: int | None = None) -> Rows:
    """Return the facts about threads, instruction set and libraries, and the reason for the number of threads.

    `wish` is the value of the option ``--threads``.
    """
    rows = [
        ("CPU", machine.cpu),
        ("instruction set", f"{machine.isa} (available: {', '.join(machine.isas)})"),
        ("threads of a step", f"{machine.threads}: {why(machine, wish)}"),
        ("back end", "threads of OpenMP" if machine.backend == "openmp" else "threads of fusedstep"),
    ]
    for lib in machine.libraries:
        kind = "OpenMP" if lib.is_openmp else "BLAS"
        rows.append((kind, lib.name if lib.threads is None else f"{lib.name}, {lib.threads} threads"))
    if machine.environment:
        rows.append(("environment", " ".join(f"{k}={v}" for k, v in machine.environment.items())))
    memory = "unknown" if machine.memory is None else f"{machine.memory / 1e9:.1f} GB available"
    return [*rows, ("memory", memory)]


def why(machine: Machine, wish: int | None) -> str:
    """Explain the number of threads by a list of its limits. `wish` is the value of the option ``--threads``."""
    limits = [f"{machine.cpus} CPUs", f"affinity {machine.affinity}"]
    limits.append("no quota" if machine.quota is None else f"quota {machine.quota:g}")
    names = ("FUSEDSTEP_NUM_THREADS", "OMP_NUM_THREADS")
    limits += [f"{name}={machine.environment[name]}" for name in names if machine.environment.get(name)]
    limits += [f"--threads {wish}"] if wish else []
    return "the least of " + ", ".join(limits)


def figure_rows(machine: Machine, figures: Figures) -> Rows:
    """Return the measured bandwidths, and the shortest possible time and the measured time of an Adam step."""
    millions = f"{figures.parameters / 1e6:g} million parameters"
    return [
        ("copy by NumPy", f"{figures.copy:.1f} GB/s with one thread"),
        (
            "Adam's memory traffic",
            f"{figures.in_place:.1f} GB/s with {machine.threads} threads, {figures.in_place_one:.1f} GB/s with one",
        ),
        (
            f"Adam, {millions}",
            f"should take {1e3 * figures.should:.2f} ms, the time of its memory traffic; "
            f"takes {1e3 * figures.does:.2f} ms",
        ),
    ]
