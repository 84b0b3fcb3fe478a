"""The cases of the suite `training`: the networks, the numbers of rows in a step, and the targets."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

FEATURES, CLASSES = 64, 10  # of scikit-learn's data set digits
LR = 1e-3


@dataclass(frozen=True)
class Case:
    """A ReLU network with a softmax loss and Adam. Each case has a table of results."""

    name: str
    hidden: tuple[int, ...]
    batch: int = 32  # rows of a training step
    batches: int = 40  # training steps in one timed pass over the rows
    quick: bool = False  # True if the case is part of --quick

    @property
    def widths(self) -> tuple[int, ...]:
        return (FEATURES, *self.hidden, CLASSES)

    @property
    def elements(self) -> int:
        """Return the number of weights and biases."""
        return sum((a + 1) * b for a, b in pairwise(self.widths))

    @property
    def flops(self) -> int:
        """Return the number of floating-point operations in the matrix products of one training step.

        The first layer has two products, because the gradient with respect to its input is not computed. All other
        layers have three products.
        """
        products = [a * b for a, b in pairwise(self.widths)]
        return 2 * self.batch * (3 * sum(products) - products[0])

    @property
    def bytes_per_element(self) -> int:
        """Return the bytes per weight that are read and written: 28 in Adam, and 4 in each of the three products."""
        return 40

    def describe(self) -> str:
        network = "-".join(map(str, self.widths))
        return f"training step of a {network} ReLU network, {self.batch} rows of digits, softmax loss, Adam, float32"


CASES = (
    Case("digits/64-64", (64, 64), quick=True),
    Case("digits/256-256", (256, 256)),
    Case("digits/1024-1024", (1024, 1024), batches=8),
    Case("digits/256-256, 200 rows", (256, 256), batch=200, batches=8),
)


@dataclass(frozen=True)
class Target:
    """A target: our training step is at least `bound` times as fast as the training step of `peer`."""

    case: str
    peer: str
    bound: float


TARGETS = tuple(
    Target(f"digits/{size}", peer, bound)
    for size, bound in (("64-64", 2), ("256-256", 2), ("1024-1024", 1))
    for peer in ("torch fused", "scikit-learn")
)
