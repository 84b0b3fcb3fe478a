"""Run the study of narrow formats. Each training is a job for a process with one thread."""

from __future__ import annotations

import importlib
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import cache, partial
from typing import Any

import torch

from fusedstep._bench.report import machine

from . import codes, digits, text
from .variants import REFERENCE, VARIANTS

SEEDS = {"digits": 10, "text": 5, "codes": 5}  # kind of job -> number of seeds
MOMENTS_SEED = 100  # seed of the trainings whose moments are used to compare the codes
Job = tuple[str, str, int]  # the kind of job, the variant or code, and the seed

SETTINGS: dict[str, Any] = {"digits": digits.Setting(), "text": text.Setting()}


@cache
def corpus() -> text.Corpus:
    """Return the text. Each process reads the text once."""
    return text.Corpus()


def single_thread(call: Callable[[], Any]) -> Any:
    """Call a function while BLAS and torch use one thread."""
    torch.set_num_threads(1)
    pools: Any = importlib.import_module("threadpoolctl")  # has no types
    with pools.threadpool_limits(1):
        return call()


def run(job: Job) -> tuple[dict[str, float], float]:
    """Run a job. Return its losses, and its CPU time in seconds."""
    what, name, seed = job
    by_name = {variant.name: variant for variant in VARIANTS}

    def call() -> dict[str, float]:
        if what == "digits":
            return digits.learn(by_name[name], seed, SETTINGS["digits"])
        if what == "text":
            return text.learn(corpus(), by_name[name], seed, SETTINGS["text"])
        return codes.learn(codes.CODES[name], seed, SETTINGS["digits"])

    began = time.process_time()
    return single_thread(call), time.process_time() - began


def all_jobs() -> list[Job]:
    """Return all jobs of the study."""
    learned: list[Job] = [
        (what, variant.name, seed) for what in ("text", "digits") for seed in range(SEEDS[what]) for variant in VARIANTS
    ]
    coded: list[Job] = [("codes", name, seed) for seed in range(SEEDS["codes"]) for name in codes.CODES]
    return learned + coded


def errors_of_codes(seed: int = MOMENTS_SEED) -> dict[str, dict[str, dict[str, float]]]:
    """Return a dict: model -> code -> `codes.errors` for the moments after a training in float32."""
    moments = {
        "digits": single_thread(lambda: digits.states_after(REFERENCE, seed, SETTINGS["digits"])),
        "text": single_thread(lambda: text.moments(corpus(), seed, SETTINGS["text"])),
    }
    return {what: {name: codes.errors(code, of) for name, code in codes.CODES.items()} for what, of in moments.items()}


def sizes_of_v() -> dict[str, list[float]]:
    """Return a dict: variant with float32 parameters and narrow states -> `digits.size_of_v` for each seed."""
    narrow = [variant for variant in VARIANTS if " states, " in variant.name and not variant.bfloat16]
    s = SETTINGS["digits"]
    return {
        variant.name: [single_thread(partial(digits.size_of_v, variant, seed, s)) for seed in range(SEEDS["codes"])]
        for variant in narrow
    }


def gather(jobs: Sequence[Job], results: Sequence[tuple[dict[str, float], float]]) -> dict[str, Any]:
    """Return nested dicts: kind of job -> name -> name of the loss -> list with one loss for each seed."""
    found: dict[str, Any] = {}
    for (what, name, _), (figures, _) in zip(jobs, results, strict=True):
        lists = found.setdefault(what, {}).setdefault(name, {})
        for measure, value in figures.items():
            lists.setdefault(measure, []).append(float(f"{value:.6g}"))
    return found


def study(processes: int) -> dict[str, Any]:
    """Run all jobs of the study. Return the contents of the file of results."""
    jobs, results = all_jobs(), []
    errors = errors_of_codes()
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for job, result in zip(jobs, pool.map(run, jobs), strict=True):
            results.append(result)
            print(f"{len(results)}/{len(jobs)}", *job, result, flush=True)
    facts = machine(1)
    kept = {k: facts[k] for k in ("cpu", "isa", "python", "versions")}
    settings = {k: asdict(s) for k, s in SETTINGS.items()}
    seconds = round(sum(s for _, s in results))
    return {
        "machine": kept,
        "core_seconds": seconds,
        "settings": settings,
        "text": corpus().facts(),
        "losses": gather(jobs, results),
        "errors": errors,
        "size_of_v": sizes_of_v(),
    }
