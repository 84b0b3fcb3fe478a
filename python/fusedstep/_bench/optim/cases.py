"""The tables of cases: rule, shapes and bytes per element."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from .models import Shapes, gpt2, resnet18

SIZES: dict[str, Shapes] = {
    "50M": ((50_000_000,),),
    "10M": ((10_000_000,),),
    "8M": ((1 << 23,),),  # a multiple of 256, the size of the blocks in which 8-bit states share a scale
    "250k": ((250_000,),),
    "300x1000": ((1_000,),) * 300,
    "30x1M": ((1_000_000,),) * 30,
    "mlp": ((64, 64), (64,), (64, 64), (64,), (64, 10), (10,)),
    "resnet18": resnet18(),
    "gpt2": gpt2(),
}

DECAY = {"weight_decay": 0.01}
# Options that add an array to read or write have their own case. A rule that is not listed here has its defaults.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "SGD": {"": {}, "-momentum": {"momentum": 0.9}},
    "AdamW": {"": DECAY},
    "Adafactor": {"": {"eps": (2.0**-23, 1e-3)}},  # float64, the dtype of the check, has a smaller default
}

CLIP_NORM = 1.0
EMA_DECAY = 0.99


@dataclass(frozen=True)
class Case:
    """One block of the table: a rule on a list of shapes, with the step alone or the full step."""

    name: str
    rule: str
    shapes: Shapes
    options: Mapping[str, Any] = field(default_factory=dict)  # options that differ from the rule's defaults
    full: bool = False  # clip by the global norm + step + EMA + zero the gradients
    quick: bool = False  # part of --quick
    peers: tuple[str, ...] = ()  # names of the implementations; if empty, all
    threads: tuple[int, ...] = ()  # a line for each number of threads; if empty, one line with the common number
    states: str = "float32"  # dtype of our states; a peer has its own format of that size
    reserve_s: float = 0.0  # seconds of a run that are reserved for libraries that compile

    @property
    def is_narrow(self) -> bool:
        return self.states != "float32"

    @property
    def elements(self) -> int:
        return sum(prod(shape) for shape in self.shapes)

    def describe(self) -> str:
        what = f"clip + {self.rule} + EMA + zero grads" if self.full else self.rule
        options = "".join(f", {key}={value}" for key, value in self.options.items() if key != "lr")
        states = ", states of 8 bits" if self.is_narrow else ""
        return f"{what}{options}, {describe_shapes(self.shapes)}, float32{states}"


@dataclass(frozen=True)
class Target:
    """A target of one case: `bound` times as fast as the fastest `peer`. Without a peer, `bound` is in seconds."""

    case: str
    bound: float
    peer: str = ""  # a name, or the start of names


TARGETS = (
    Target("adam/50M", 0.95, "roofline"),
    Target("adam/250k", 2, "torch fused"),
    Target("adam/300x1000", 15, "torch fused"),
    Target("adam/mlp", 6e-6),
    Target("adam/mlp", 20, "torch fused"),
    Target("full/300x1000", 30, "torch"),
    Target("full/30x1M", 1.5, "torch"),
)


def describe_shapes(shapes: Shapes) -> str:
    if len(set(shapes)) > 1:
        return f"{len(shapes)} tensors, {sum(prod(s) for s in shapes):,} elements"
    count = f"{len(shapes)} tensors" if len(shapes) > 1 else "one tensor"
    return f"{count} of {prod(shapes[0]):,} elements"


def optim_cases(registry: Mapping[str, type]) -> list[Case]:
    """Every registered rule in DRAM, in cache, as many small tensors and on real models; then the full step."""
    cases = []
    for rule, cls in registry.items():
        for suffix, options in VARIANTS.get(rule, {"": {}}).items():
            options = {"lr": default_of(cls, "lr", 1e-3), **options}
            every = ("50M" if rule == "Adam" else "10M", "250k", "300x1000", "resnet18", "gpt2")
            for size in every if getattr(cls, "element_wise", True) else ("resnet18",):  # a matter of shapes
                quick = size == "250k" if suffix or rule == "AdamW" else rule == "Adam" and size in ("250k", "300x1000")
                cases.append(Case(f"{rule.lower()}{suffix}/{size}", rule, SIZES[size], options, quick=quick))
    if "Adam" in registry:
        cases.append(Case("adam/mlp", "Adam", SIZES["mlp"], {"lr": 1e-3}, quick=True))
    if "AdamW" in registry:
        options = {"lr": 1e-3, **DECAY}
        for size in ("300x1000", "30x1M", "resnet18", "gpt2"):
            quick = size == "300x1000"
            cases.append(Case(f"full/{size}", "AdamW", SIZES[size], options, full=True, quick=quick))
    return [*cases, *slow_cases()] if "Adam" in registry else cases


SLOW = ("torch.compile", "deepspeed", "bitsandbytes 8-bit", "TorchAO 8-bit")  # used only in the cases that follow


def slow_cases() -> list[Case]:
    """Adam against libraries that compile for seconds or minutes before the first step, and against 8-bit states."""
    compiled = ("fusedstep", "roofline", "torch fused", *SLOW[:2])
    reserves = {"mlp": 40.0, "250k": 25.0, "50M": 40.0, "300x1000": 5.0}
    adam: dict[str, Any] = {"rule": "Adam", "options": {"lr": 1e-3}}
    return [
        *(
            Case(f"compiled/{size}", shapes=SIZES[size], peers=compiled, reserve_s=seconds, **adam)
            for size, seconds in reserves.items()
        ),
        Case("8bit/8M", shapes=SIZES["8M"], peers=("fusedstep", *SLOW[2:]), states="uint8", reserve_s=45.0, **adam),
    ]


IN_PLACE = ("fusedstep", "roofline", "torch fused", "jax+optax", "numba")


def scaling_cases(threads: int) -> list[Case]:
    """Adam on one tensor of 100 to 100 million elements, then on three sizes with 1, 2, 4 and more threads."""
    adam: dict[str, Any] = {"rule": "Adam", "options": {"lr": 1e-3}, "peers": IN_PLACE}
    sizes = [
        Case(f"size/1e{k}", shapes=((10**k,),), quick=k in (3, 5), **adam) for k in range(MIN_POWER, MAX_POWER + 1)
    ]
    counts = thread_counts(threads)
    return sizes + [
        Case(f"threads/{size}", shapes=SIZES[size], threads=counts, quick=size == "250k", **adam)
        for size in ("250k", "300x1000", "10M")
    ]


MIN_POWER, MAX_POWER = 2, 8


def thread_counts(most: int) -> tuple[int, ...]:
    """Return 1, 2, 4, ... and the largest number."""
    return tuple(sorted({min(2**k, most) for k in range(most.bit_length() + 1)}))


def default_of(cls: type, argument: str, otherwise: Any) -> Any:
    parameter = inspect.signature(cls).parameters.get(argument)
    missing = parameter is None or parameter.default is inspect.Parameter.empty
    return otherwise if missing or parameter is None else parameter.default


def count_state(cls: Any, options: Mapping[str, Any]) -> int:
    """Count the state arrays of the rule, on a small optimizer."""
    param = np.ones(5, np.float32)
    optimizer = cls([param], **options)
    optimizer.step([np.ones(5, np.float32)])
    arrays = [a for entry in optimizer.state.values() for a in entry.values()]
    return sum(isinstance(a, np.ndarray) and a.shape == param.shape for a in arrays)


def bytes_per_element(states: int, full: bool, state_size: int = 4) -> int:
    """Return the bytes that must move for one float32 element: 8 if it is read and written, 4 if only read."""
    parameter, gradient, state = 8, 4, 2 * state_size
    norm_pass, zeroing, ema = (4, 4, 8) if full else (0, 0, 0)
    return parameter + gradient + state * states + norm_pass + zeroing + ema
