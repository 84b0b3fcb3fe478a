"""Time AdamW's steps in every width: the cases `widths/*` of `python -m bench optim`.

A width is a choice of formats for parameters and states (32, 16 or 8 bits). All widths of a case are timed in
interleaved rounds, with these implementations:

- fusedstep's NumPy API, and `OffloadedOptimizer`
- torch's fused AdamW in each dtype
- a loop with torch's AdamW that copies between 16-bit parameters and float32 master weights
- the optimizers of DeepSpeed, bitsandbytes and TorchAO on the CPU
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np

import fusedstep as fs
from fusedstep._bench import verdicts
from fusedstep._bench.common import missing, random_array, why
from fusedstep._bench.harness import TOO_SLOW, Lines, Ratio, Sampling, measure, ratio_interval
from fusedstep._bench.optim.cases import SIZES, describe_shapes
from fusedstep._bench.optim.models import Shapes
from fusedstep._bench.optim.suite import Line
from fusedstep._bench.report import VERDICT, duration, interval, print_rows

OPTIONS: dict[str, Any] = {"lr": 1e-4, "weight_decay": 0.01}
KEPT = {"master_weights": True}
FLOAT32 = 28  # bytes that the float32 step reads and writes per element
TEMPORARIES = 8.0  # estimated bytes per element of the temporary arrays of a step that makes float32 copies


@dataclass(frozen=True)
class WidthCase:
    """AdamW on some tensors, in every width."""

    name: str
    shapes: Shapes
    quick: bool = False

    @property
    def elements(self) -> int:
        return sum(prod(shape) for shape in self.shapes)

    def describe(self) -> str:
        return f"AdamW in every width, {describe_shapes(self.shapes)}"


#: "50M" and "gpt2" have the shapes of the cases adam/50M and adam/gpt2.
CASES = tuple(
    WidthCase(f"widths/{name}", shapes)
    for name, shapes in {
        "1M": ((1_000_000,),),
        "20M": ((20_000_000,),),
        "50M": SIZES["50M"],
        "100M": ((100_000_000,),),
        "gpt2": SIZES["gpt2"],
    }.items()
)


class Step:
    """A step that `harness.measure` can time, and its parameters."""

    refill = None

    def __init__(self, step: Callable[[], object], params: list[Any]) -> None:
        self.step, self.params = step, params

    def is_finite(self) -> bool:
        arrays = [p.detach().float().numpy() if hasattr(p, "detach") else p.astype(np.float32) for p in self.params]
        return all(np.isfinite(a).all() for a in arrays)


def numbers(case: WidthCase, which: int) -> list[Any]:
    """Return parameters (`which` is 0) or gradients (1). The numbers are normal, with the standard deviation 0.1."""
    return [random_array(shape, (which, i)) * np.float32(0.1) for i, shape in enumerate(case.shapes)]


def ours(dtype: str, options: Mapping[str, Any], case: WidthCase) -> Step:
    """Return the step of our NumPy API."""
    import ml_dtypes

    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    p, g = ([a.astype(kind, copy=False) for a in numbers(case, k)] for k in (0, 1))
    optimizer = fs.AdamW(p, **OPTIONS, **options)
    return Step(lambda: optimizer.step(g), p)


def tensors(case: WidthCase, dtype: str) -> tuple[list[Any], list[Any]]:
    """Return torch parameters, and a list of their gradients. The caller assigns the gradients to the parameters."""
    torch: Any = importlib.import_module("torch")
    p, g = ([torch.from_numpy(a).to(getattr(torch, dtype)) for a in numbers(case, k)] for k in (0, 1))
    return [torch.nn.Parameter(a) for a in p], g


def theirs(make: Callable[[list[Any]], Any], dtype: str, case: WidthCase) -> Step:
    """Return the step of an optimizer of torch tensors. `make` makes the optimizer from the parameters."""
    params, gradients = tensors(case, dtype)
    for p, g in zip(params, gradients, strict=True):
        p.grad = g
    return Step(make(params).step, params)


def torch_fused(params: list[Any]) -> Any:
    torch: Any = importlib.import_module("torch")
    return torch.optim.AdamW(params, fused=True, **OPTIONS)


def bitsandbytes(params: list[Any]) -> Any:
    return importlib.import_module("bitsandbytes").optim.AdamW8bit(params, **OPTIONS)


def torchao(params: list[Any]) -> Any:
    return importlib.import_module("torchao.optim").AdamW8bit(params, **OPTIONS)


def deepspeed(params: list[Any]) -> Any:
    return importlib.import_module("deepspeed.ops.adam").DeepSpeedCPUAdam(params, adamw_mode=True, **OPTIONS)


def by_hand(case: WidthCase) -> Step:
    """Return a step of bfloat16 parameters with torch's fused float32 AdamW.

    The step copies the gradients to float32 tensors, calls AdamW, and copies the new parameters to bfloat16.
    """
    torch: Any = importlib.import_module("torch")
    params, gradients = tensors(case, "bfloat16")
    masters = [torch.nn.Parameter(p.detach().float()) for p in params]
    for master in masters:
        master.grad = torch.empty_like(master)
    optimizer = torch_fused(masters)

    def step() -> None:
        with torch.no_grad():
            for master, g in zip(masters, gradients, strict=True):
                master.grad.copy_(g)
            optimizer.step()
            for p, master in zip(params, masters, strict=True):
                p.copy_(master)

    return Step(step, masters)


def offloaded(case: WidthCase) -> Step:
    """Return OffloadedOptimizer's step of bfloat16 parameters in the CPU's memory."""
    from fusedstep.torch import AdamW, OffloadedOptimizer

    params, gradients = tensors(case, "bfloat16")
    optimizer: Any = OffloadedOptimizer(AdamW, params, **OPTIONS)

    def step() -> None:
        for p, g in zip(params, gradients, strict=True):
            p.grad = g
        optimizer.step()

    return Step(step, params)


@dataclass(frozen=True)
class Way:
    """An implementation with a width (a choice of formats). Each way has a line in the table of a case.

    `held` is the memory of the way per element in bytes, with temporary arrays. `moved` is the number of bytes per
    element that its step reads and writes. If the way is another library, `like` is the name of our way with the same
    formats. `needs` has the names of the required packages.
    """

    name: str
    make: Callable[[WidthCase], Step]
    held: float
    moved: float | None = None
    like: str = ""
    needs: tuple[str, ...] = ()


OURS = "fusedstep float32"
#: The ways are built in this order. A way whose arrays do not fit into the remaining memory is left out.
WAYS = (
    Way(OURS, partial(ours, "float32", {}), 16, FLOAT32),
    Way("fusedstep bfloat16", partial(ours, "bfloat16", {}), 8, 14),
    Way("fusedstep float16", partial(ours, "float16", {}), 8, 14),
    Way("torch fused bfloat16", partial(theirs, torch_fused, "bfloat16"), 8, 14, "fusedstep bfloat16", ("torch",)),
    Way("torch fused float16", partial(theirs, torch_fused, "float16"), 8, 14, "fusedstep float16", ("torch",)),
    Way("fusedstep OffloadedOptimizer", offloaded, 14, 26, needs=("torch",)),
    Way("torch, masters by hand", by_hand, 20, like="fusedstep OffloadedOptimizer", needs=("torch",)),
    Way("fusedstep bfloat16 states", partial(ours, "float32", {"state_dtype": "bfloat16"}), 12, 20),
    Way("fusedstep uint8 states", partial(ours, "float32", {"state_dtype": "uint8"}), 10.1, 16),
    Way("fusedstep low bits", partial(ours, "bfloat16", KEPT), 14.1, 26),
    Way(
        "fusedstep low bits, bfloat16 states",
        partial(ours, "bfloat16", {**KEPT, "state_dtype": "bfloat16"}),
        10.1,
        18,
    ),
    Way(
        "fusedstep low bits, uint8 states",
        partial(ours, "bfloat16", {**KEPT, "state_dtype": "uint8"}),
        8.1,
        14,
    ),
    Way("torch fused float32", partial(theirs, torch_fused, "float32"), 16, FLOAT32, OURS, ("torch",)),
    Way("deepspeed", partial(theirs, deepspeed, "float32"), 16, FLOAT32, OURS, ("torch", "deepspeed")),
    Way(
        "bitsandbytes 8 bits",
        partial(theirs, bitsandbytes, "float32"),
        10.1 + TEMPORARIES,
        like="fusedstep uint8 states",
        needs=("torch", "bitsandbytes"),
    ),
    Way(
        "torchao 8 bits",
        partial(theirs, torchao, "float32"),
        10.1 + TEMPORARIES,
        like="fusedstep uint8 states",
        needs=("torch", "torchao"),
    ),
)


@dataclass
class WidthLine(Line):
    """The results of one way. `ratio` is its time / the time of our float32 step."""

    bytes_ratio: float | None = None  # bytes that the step reads and writes / bytes of the float32 step
    over_like: Ratio | None = None  # for another library: its time / the time of our way with the same formats

    @property
    def mine(self) -> bool:
        return self.name.startswith("fusedstep") and not self.status.startswith(("left out", "not installed"))

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | {"over_ours": self.over_like or self.ratio}


@dataclass
class WidthResult(Lines[WidthLine]):
    """The results of a case."""

    case: WidthCase
    lines: list[WidthLine]

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.case.name,
            "what": self.case.describe(),
            "shapes": [list(shape) for shape in self.case.shapes],
            "elements": self.case.elements,
            "bytes_per_element": FLOAT32,
            "yardstick": OURS,
            "lines": [line.as_dict() for line in self.lines],
        }


def run_case(case: WidthCase, plan: Sampling, threads: int, memory: float, ways: tuple[Way, ...] = WAYS) -> WidthResult:
    """Time all ways on one case in interleaved rounds."""
    fs.set_num_threads(threads)
    if not missing(["torch"]):
        importlib.import_module("torch").set_num_threads(threads)
    result = WidthResult(case, [])
    made = dict(built(case, memory, ways, result.lines))
    timings = measure(made, plan)
    base = timings.get(OURS)
    for way, line in zip(ways, result.lines, strict=True):
        timing = timings.get(way.name)
        if timing is None:
            line.status = TOO_SLOW if way.name in made else line.status
            continue
        if not made[way.name].is_finite():
            line.status = "WRONG: a parameter is not finite after timing"
            continue
        line.seconds, line.repeats, line.samples = timing.median, timing.repeats, timing.samples.tolist()
        line.ratio = None if base is None else ratio_interval(timing.samples, base.samples)
        if way.moved is not None:
            line.gb_s, line.bytes_ratio = way.moved * case.elements / timing.median / 1e9, way.moved / FLOAT32
        if way.like in timings:
            line.over_like = ratio_interval(timing.samples, timings[way.like].samples)
    made.clear()
    gc.collect()
    return result


def built(case: WidthCase, memory: float, ways: tuple[Way, ...], lines: list[WidthLine]) -> Iterator[tuple[str, Step]]:
    """Yield the steps of the ways whose packages are installed, whose arrays fit into `memory`, and whose step works.

    Append a line to `lines` for each way, also if its step is not yielded.
    """
    used = 8.0 * case.elements  # arrays of random numbers, which exist while a step is made
    for way in ways:
        line = WidthLine(way.name)
        lines.append(line)
        need = way.held * case.elements
        if lacking := missing(way.needs):
            line.status = f"not installed: {', '.join(lacking)}"
        elif used + need > memory:
            line.status = f"left out: all arrays together need more than {memory / 2**30:.3g} GiB (--memory)"
        else:
            try:
                step = way.make(case)
                step.step()
            except Exception as problem:  # an error of one way must not stop the others
                line.status = why(problem)
                continue
            used += need
            yield way.name, step


HEADER = ("implementation", "median", "time / our float32", "bytes / float32", "time / ours, same formats", VERDICT)


def print_case(result: WidthResult) -> None:
    rows = []
    for line in result.lines:
        if line.seconds is None:
            rows.append((line.name, "-", "-", "-", "-", line.status))
            continue
        moved = "-" if line.bytes_ratio is None else f"{line.bytes_ratio:.2f}"
        ratio = "-" if line.ratio is None else interval(line.ratio)
        rows.append((line.name, duration(line.seconds), ratio, moved, *verdicts.cells(line.over_like, line.mine)))
    print_rows(f"{result.case.name}: {result.case.describe()}", HEADER, rows)


@dataclass(frozen=True)
class WidthTarget:
    """A target: the step of the way `line` takes at most `bound` times as long as our float32 step.

    Without AVX-512, the bound is `without_avx512`. If `like` is not empty, the step is compared with the step of the
    way `like` instead of our float32 step.
    """

    case: str
    line: str
    bound: float
    without_avx512: float
    like: str = ""


def targets() -> Iterator[WidthTarget]:
    states, low = "fusedstep {} states", "fusedstep low bits"
    for case in ("widths/50M", "widths/gpt2"):
        yield WidthTarget(case, states.format("bfloat16"), 0.76, 0.82)
        yield WidthTarget(case, states.format("uint8"), 0.70, 1.0)
        yield WidthTarget(case, low, 0.97, 0.97)
        yield WidthTarget(case, f"{low}, bfloat16 states", 0.70, 0.82)
        yield WidthTarget(case, f"{low}, uint8 states", 0.65, 1.0)
    for case in ("widths/1M", "widths/20M", "widths/100M"):
        for dtype in ("bfloat16", "float16"):
            yield WidthTarget(case, f"fusedstep {dtype}", 1.0, 1.0, f"torch fused {dtype}")
    yield WidthTarget("widths/100M", "fusedstep OffloadedOptimizer", 1.05, 1.05, "torch, masters by hand")


def judge(target: WidthTarget, results: Mapping[str, Any], isa: str) -> dict[str, Any]:
    """Compare a target with the measured ratio. In the result, `met` is None if nothing was measured."""
    bound = target.bound if isa == "v4" else target.without_avx512
    text = f"{target.line}: at most {bound:g} x {target.like or OURS}"
    entry = {"case": target.case, "target": text, "value": None, "measured": "-", "met": None}
    result = results.get(target.case)
    line = None if result is None else result.line(target.like or target.line)
    ratio = None if line is None else line.over_like if target.like else line.ratio
    if ratio is None:
        return entry
    if target.like:  # the line of `like` contains its time / our time; the target is for our time / its time
        ratio = 1 / ratio[0], 1 / ratio[2], 1 / ratio[1]
    return entry | {"measured": interval(ratio), **verdicts.held(ratio, bound, at_most=True)}
