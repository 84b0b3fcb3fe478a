"""The parameters of both estimators: their types, what they may be, and what does not go together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.neural_network import MLPClassifier as Theirs
from sklearn.utils._param_validation import Interval, StrOptions

from .. import nn, optim, schedules

SKLEARN_NAMES = {"sigmoid": "logistic"}
ACTIVATIONS: dict[str, type[nn.Layer] | None] = {
    "identity": None,
    **{SKLEARN_NAMES.get(name, name): kind for name, kind in nn.activations.registry.items()},
}
SKLEARN_RATES = ("constant", "invscaling", "adaptive")
DRAWING = ("dropout", "input_noise", "weight_noise", "mixup", "weight_init", "bias_init", "pretraining")
DECAYS = ("l2", "decoupled", "proximal")


def _at_least_0(kind: type = Real) -> Interval:
    return Interval(kind, 0, None, closed="left")


class Parameters:
    """What an estimator is made with, by name; see `MLPClassifier`."""

    hidden_layer_sizes: Any
    activation: str
    solver: Any
    alpha: float
    batch_size: int | str
    learning_rate: Any
    learning_rate_init: float | str
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: Any
    tol: float
    verbose: bool | int
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    solver_params: Mapping[str, Any] | None
    l1_ratio: float
    decay: str | None
    weight_decay: float | None
    clip_norm: float | None
    warmup: int
    dropout: float
    batch_norm: bool
    weight_init: Any
    bias_init: Any
    sparsity: float
    sparsity_penalty: str
    sparsity_target: float
    pretraining: Mapping[str, Any] | None
    input_noise: float
    weight_noise: float
    mixup: float
    ema_decay: float | None
    snapshots: int
    scoring: Any
    callbacks: Sequence[Callable[..., Any]] | None
    dtype: str | None

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **Theirs._parameter_constraints,
        "activation": [StrOptions(set(ACTIVATIONS))],
        "solver": [str, callable],
        "learning_rate": [StrOptions({*SKLEARN_RATES, *schedules.NAMES}), callable],
        "learning_rate_init": [*Theirs._parameter_constraints["learning_rate_init"], StrOptions({"auto"})],
        "solver_params": [dict, None],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "decay": [StrOptions(set(DECAYS)), None],
        "weight_decay": [_at_least_0(), None],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "warmup": [_at_least_0(Integral)],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "batch_norm": ["boolean"],
        "weight_init": [callable, None],
        "bias_init": [callable, None],
        "sparsity": [_at_least_0()],
        "sparsity_penalty": [StrOptions({"l1", "student_t", "kl"})],
        "sparsity_target": [Interval(Real, 0, 1, closed="neither")],
        "pretraining": [dict, None],
        "input_noise": [_at_least_0()],
        "weight_noise": [_at_least_0()],
        "mixup": [_at_least_0()],
        "ema_decay": [Interval(Real, 0, 1, closed="both"), None],
        "snapshots": [_at_least_0(Integral)],
        "scoring": [str, callable, None],
        "callbacks": ["array-like", None],
        "dtype": [StrOptions({"float32", "float64"}), None],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "loss": [StrOptions({"squared_error", "poisson"})],
    }

    def _take(self, arguments: Mapping[str, Any]) -> None:
        """Keep the constructor's arguments as they are, as scikit-learn wants it."""
        for name, value in arguments.items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    @property
    def _hidden(self) -> list[int]:
        sizes = np.atleast_1d(np.asarray(self.hidden_layer_sizes, dtype=object)).tolist()
        if not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be integers > 0, got {self.hidden_layer_sizes!r}.")
        return [int(size) for size in sizes]

    @property
    def _optimizer_class(self) -> type[optim.Optimizer] | None:
        """The class that `solver` names; None for "lbfgs" and for functions that make an optimizer themselves."""
        if isinstance(self.solver, type) and issubclass(self.solver, optim.Optimizer):
            return self.solver
        if not isinstance(self.solver, str) or self.solver == "lbfgs":
            return None
        by_name = {name.lower(): cls for name, cls in optim.registry.items()}
        if self.solver.lower() not in by_name:
            names = ", ".join(["lbfgs", *optim.registry])
            raise ValueError(
                f"solver must be one of {names}, or a function that returns an optimizer; got {self.solver!r}"
            )
        return by_name[self.solver.lower()]

    @property
    def _draws(self) -> bool:
        """Whether training needs random numbers besides the first weights, the split and the order of the rows."""
        return any(getattr(self, name) not in (None, 0) for name in DRAWING)

    @property
    def _runs_to_the_end(self) -> bool:
        """Whether a schedule plans the whole training, so that a loss that stands still must not end it."""
        return not (isinstance(self.learning_rate, str) and self.learning_rate in SKLEARN_RATES)
