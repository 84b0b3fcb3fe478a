"""The cases and their targets. Some cases time a fit, and the others compare accuracies in a cross-validation."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

EPOCHS = 10  # epochs of a timed fit
FOLDS, ACCURACY_EPOCHS = 5, 60
THEIRS, OURS, OURS_FLOAT32 = "scikit-learn", "fusedstep", "fusedstep, dtype='float32'"


@dataclass(frozen=True)
class Case:
    """A data set and a network for scikit-learn's classifier and for ours, with the same settings and seed."""

    name: str
    data: str
    hidden: tuple[int, ...]
    batch: int
    dtype: str = "float64"
    accuracy: bool = False
    quick: bool = False

    @property
    def elements(self) -> int:
        """Return the number of weights and biases, for 64 features and 10 classes."""
        widths = (64, *self.hidden, 10)
        return sum((a + 1) * b for a, b in itertools.pairwise(widths))

    def describe(self) -> str:
        network = f"MLPClassifier({self.hidden}, batch_size={self.batch}), data set {self.data} in {self.dtype}"
        what = (
            f"cross-validation in {FOLDS} folds with {ACCURACY_EPOCHS} epochs for each fold"
            if self.accuracy
            else f"mean time of a training step in a fit of {EPOCHS} epochs"
        )
        return f"{what}, {network}, default values for all other arguments"


SMALL, LARGE = ((64, 64), 32), ((256, 256), 64)
CASES = (
    Case("fit/64-64", "digits", *SMALL, quick=True),
    Case("fit/256-256", "digits", *LARGE),
    Case("fit/64-64 float32", "digits", *SMALL, dtype="float32"),
    Case("fit/256-256 float32", "digits", *LARGE, dtype="float32"),
    Case("accuracy/digits", "digits", *SMALL, accuracy=True),
    Case("accuracy/digits 256-256", "digits", *LARGE, accuracy=True),
    Case("accuracy/breast_cancer", "breast_cancer", *SMALL, accuracy=True, quick=True),
    Case("accuracy/breast_cancer 256-256", "breast_cancer", *LARGE, accuracy=True),
)


@dataclass(frozen=True)
class Target:
    """A target: our fit is at least `bound` times as fast as scikit-learn's.

    If `bound` is 0, the target is that our accuracy is at least as high as scikit-learn's.
    """

    case: str
    bound: float = 0.0

    def text(self) -> str:
        return f"at least {self.bound:g} x as fast as {THEIRS}" if self.bound else f"at least {THEIRS}'s"


TARGETS = tuple(
    Target(case.name, 0.0 if case.accuracy else 2.0) for case in CASES if case.accuracy or case.dtype == "float64"
)
