"""The cases of the suites `optim` and `scaling`: an optimizer, the shapes of the parameters, and targets."""

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
    "8M": ((1 << 23,),),  # a multiple of 256, because in 8-bit states, blocks of 256 elements share a scale
    "250k": ((250_000,),),
    "300x1000": ((1_000,),) * 300,
    "30x1M": ((1_000_000,),) * 30,
    "mlp": ((64, 64), (64,), (64, 64), (64,), (64, 10), (10,)),
    "resnet18": resnet18(),
    "gpt2": gpt2(),
}

DECAY = {"weight_decay": 0.01}
# For each optimizer: the ends of the names of its cases, and the options of these cases. SGD has two cases, because
# with momentum its step uses one more array. Optimizers that are not listed have their default options.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "SGD": {"": {}, "-momentum": {"momentum": 0.9}},
    "AdamW": {"": DECAY},
    "Adafactor": {"": {"eps": (2.0**-23, 1e-3)}},  # the default for float64, the dtype of the check, is smaller
}

CLIP_NORM = 1.0
EMA_DECAY = 0.99


@dataclass(frozen=True)
class Case:
    """An optimizer (`rule`), the shapes of its parameters, and its options.

    If `full` is True, a step also clips the gradients, updates a moving average of the parameters, and sets the
    gradients to zero. This is the full step.
    """

    name: str
    rule: str
    shapes: Shapes
    options: Mapping[str, Any] = field(default_factory=dict)  # options that differ from the optimizer's defaults
    full: bool = False
    quick: bool = False  # True if the case is part of --quick
    peers: tuple[str, ...] = ()  # names of the implementations; if empty, all
    threads: tuple[int, ...] = ()  # every implementation is timed with each number; if empty, with the run's number
    states: str = "float32"  # dtype of fusedstep's states; other libraries have their own format of the same size
    reserve_s: float = 0.0  # seconds that are reserved for compilations

    @property
    def is_narrow(self) -> bool:
        return self.states != "float32"

    @property
    def elements(self) -> int:
        return sum(prod(shape) for shape in self.shapes)

    def describe(self) -> str:
        what = f"{self.rule} with clipping, weight average and zeroed gradients" if self.full else self.rule
        options = "".join(f", {key}={value}" for key, value in self.options.items() if key != "lr")
        states = ", states of 8 bits" if self.is_narrow else ""
        return f"{what}{options}, {describe_shapes(self.shapes)}, float32{states}"


@dataclass(frozen=True)
class Target:
    """A target: our step is at least `bound` times as fast as the fastest implementation whose name starts with `peer`.

    If `peer` is empty, the target is that our step takes at most `bound` seconds.
    """

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
        return f"{len(shapes)} tensors with {sum(prod(s) for s in shapes):,} elements in total"
    count = f"{len(shapes)} tensors" if len(shapes) > 1 else "one tensor"
    return f"{count} of {prod(shapes[0]):,} elements"


def optim_cases(registry: Mapping[str, type]) -> list[Case]:
    """Return the cases of the suite `optim`.

    They time the step of each optimizer in `registry`, the full step (see `Case`) of AdamW, and the `slow_cases`. The
    parameters of a case are one tensor in DRAM, one tensor in cache, many tensors, or those of one of three models.
    """
    cases = []
    for rule, cls in registry.items():
        for suffix, options in VARIANTS.get(rule, {"": {}}).items():
            options = {"lr": default_of(cls, "lr", 1e-3), **options}
            every = ("50M" if rule == "Adam" else "10M", "250k", "300x1000", "resnet18", "gpt2")
            # A step that depends on the shapes of the parameters is timed only with the shapes of a model.
            for size in every if getattr(cls, "element_wise", True) else ("resnet18",):
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


SLOW = ("torch.compile", "deepspeed", "bitsandbytes 8-bit", "TorchAO 8-bit")  # used only in `slow_cases`


def slow_cases() -> list[Case]:
    """Return cases of Adam: with libraries whose compilation takes seconds or minutes, and with 8-bit states."""
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
    """Return cases of Adam: one tensor of 100, 1,000, ... elements, and three sizes with 1, 2, 4, ... threads."""
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
    """Return the powers of two up to `most`, and `most`."""
    return tuple(sorted({min(2**k, most) for k in range(most.bit_length() + 1)}))


def default_of(cls: type, argument: str, otherwise: Any) -> Any:
    parameter = inspect.signature(cls).parameters.get(argument)
    missing = parameter is None or parameter.default is inspect.Parameter.empty
    return otherwise if missing or parameter is None else parameter.default


def count_state(cls: Any, options: Mapping[str, Any]) -> int:
    """Return the number of state arrays of a parameter."""
    param = np.ones(5, np.float32)
    optimizer = cls([param], **options)
    optimizer.step([np.ones(5, np.float32)])
    arrays = [a for entry in optimizer.state.values() for a in entry.values()]
    return sum(isinstance(a, np.ndarray) and a.shape == param.shape for a in arrays)


def bytes_per_element(states: int, full: bool, state_size: int = 4) -> int:
    """Return the bytes that a step reads and writes per element of the parameters.

    `states` is the number of state arrays, and `state_size` is the number of bytes of one element of a state array.
    `full` is True for the full step (see `Case`). All other arrays are float32. A number that is read and
    written counts twice.
    """
    parameter, gradient, state = 8, 4, 2 * state_size
    norm_pass, zeroing, ema = (4, 4, 8) if full else (0, 0, 0)
    return parameter + gradient + state * states + norm_pass + zeroing + ema
