"""The cases of the suite `layers`, and the targets of fusedstep in these cases."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

P = 0.5  # probability of dropout; with 0.5, kept elements are multiplied by exactly 2
EPS, MOMENTUM = 1e-5, 0.1
# Number of arrays of the input's size that a layer reads or writes.
STREAMS = {"dropout": 2, "dropout_backward": 2, "bn": 2, "bn_backward": 3, "bn_inference": 2}
WHAT = {
    "dropout": "dropout forward",
    "dropout_backward": "dropout backward",
    "bn": "batch norm forward in training",
    "bn_backward": "batch norm backward",
    "bn_inference": "batch norm inference",
}


@dataclass(frozen=True)
class Case:
    """A layer and the shape of its input. Each case has a table of results."""

    name: str
    op: str
    shape: tuple[int, ...]
    axis: int = 1
    residual: bool = False  # True if batch norm adds a residual and applies a ReLU
    quick: bool = False  # True if the case is part of --quick
    dtype: str = "float32"  # dtype of inputs and outputs; statistics and their gradients are float32

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def is_half(self) -> bool:
        return self.dtype != "float32"

    @property
    def needs(self) -> tuple[str, ...]:
        """Return the names of the modules that are needed to create the inputs."""
        return ("ml_dtypes",) if self.dtype == "bfloat16" else ()

    @property
    def bytes_per_element(self) -> int:
        """Return the sum of the bytes read and written per element, if each array is read or written once."""
        return (2 if self.is_half else 4) * (STREAMS[self.op] + self.residual)

    def describe(self) -> str:
        extra = " + residual + ReLU" if self.residual else ""
        last = ", channels last" if self.axis == -1 else ""
        shape = "x".join(str(n) for n in self.shape) if len(self.shape) > 1 else f"{self.elements:,} elements"
        traffic = f"reads and writes a total of {self.bytes_per_element} bytes per element"
        return f"{WHAT[self.op]}{extra}, {shape}{last}, {self.dtype}; {traffic}"


IMAGES = (64, 64, 56, 56)
HALVES = tuple(
    Case(f"{name}-{dtype}", op, shape, dtype=dtype)
    for dtype in ("bfloat16", "float16")
    for name, op, shape in (
        ("dropout/32M", "dropout", (32_000_000,)),
        ("bn/64x64x56x56", "bn", IMAGES),
        ("bn/4096x512", "bn", (4096, 512)),
        ("bn-backward/64x64x56x56", "bn_backward", IMAGES),
    )
)
CASES = (
    Case("dropout/32M", "dropout", (32_000_000,)),
    Case("dropout-backward/32M", "dropout_backward", (32_000_000,)),
    Case("dropout/65536", "dropout", (65_536,), quick=True),
    Case("bn/64x64x56x56", "bn", IMAGES),
    Case("bn/64x256x14x14", "bn", (64, 256, 14, 14), quick=True),
    Case("bn/4096x512", "bn", (4096, 512), quick=True),
    Case("bn/128x512", "bn", (128, 512), quick=True),
    Case("bn-last/64x56x56x64", "bn", (64, 56, 56, 64), axis=-1),
    Case("bn-residual-relu/64x64x56x56", "bn", IMAGES, residual=True),
    Case("bn-backward/64x64x56x56", "bn_backward", IMAGES),
    Case("bn-inference/64x64x56x56", "bn_inference", IMAGES),
    *HALVES,
)

COPY, TORCH, ALONE = "copy", "torch", "bn alone"


@dataclass(frozen=True)
class Target:
    """A target of one case: a bound for the time of fusedstep.

    `against` is COPY (the fastest copy of an array), ALONE (fusedstep's batch norm without residual and ReLU) or TORCH.
    For COPY and ALONE, fusedstep's time per byte should be at most `bound` times the time per byte of `against`. For
    TORCH, fusedstep should be at least `bound` times as fast as torch.
    """

    case: str
    against: str
    bound: float

    def text(self) -> str:
        if self.against == TORCH:
            return f"at least {self.bound:g} x as fast as torch" if self.bound > 1 else "faster than torch"
        per_byte = ", per byte" if self.against == ALONE else ""
        return f"at most {self.bound:g} x {self.against}{per_byte}"


TARGETS = (
    Target("dropout/32M", COPY, 1.15),
    Target("dropout-backward/32M", COPY, 1.15),
    Target("dropout/65536", TORCH, 40),
    Target("bn/64x64x56x56", COPY, 1.3),
    Target("bn/64x64x56x56", TORCH, 5),
    Target("bn/64x256x14x14", TORCH, 4),
    Target("bn/4096x512", COPY, 1.5),
    Target("bn/4096x512", TORCH, 1.1),
    Target("bn-last/64x56x56x64", COPY, 1.8),
    Target("bn/128x512", TORCH, 1),
    Target("bn-residual-relu/64x64x56x56", ALONE, 1.2),
    Target("bn-backward/64x64x56x56", TORCH, 3),
    Target("bn-inference/64x64x56x56", COPY, 1.15),
    *(Target(case.name, TORCH, 1) for case in HALVES),
)
