"""The parameters of both estimators: their types and allowed values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from numbers import Integral, Real
from typing import Any

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


def parameter(default: Any, *constraints: Any) -> Any:
    """Return a dataclass field for a parameter of an estimator, with the given default and constraints.

    In every fit, scikit-learn checks that the value fulfils one of the constraints. A field made without
    this function has the constraints of the parameter of the same name in scikit-learn's MLPClassifier.
    """
    return field(default=default, metadata={"constraints": list(constraints)})


class _Constraints:
    """Maps the name of each parameter to the constraints that scikit-learn checks."""

    def __get__(self, instance: object, cls: Any) -> dict[str, Any]:
        ours = {each.name: each.metadata["constraints"] for each in fields(cls) if "constraints" in each.metadata}
        return {**Theirs._parameter_constraints, **ours}


@dataclass(eq=False, repr=False)
class Parameters:
    """The parameters of an estimator; see `MLPClassifier`."""

    hidden_layer_sizes: Any = (100,)
    activation: str = parameter("relu", StrOptions(set(ACTIVATIONS)))
    _: KW_ONLY
    solver: Any = parameter("adam", str, callable)
    alpha: float = 0.0001
    batch_size: int | str = "auto"
    learning_rate: Any = parameter("constant", StrOptions({*SKLEARN_RATES, *schedules.NAMES}), callable)
    learning_rate_init: float | str = parameter(
        0.001, *Theirs._parameter_constraints["learning_rate_init"], StrOptions({"auto"})
    )
    power_t: float = 0.5
    max_iter: int = 200
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    verbose: bool | int = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    n_iter_no_change: float = 10
    max_fun: int = 15000
    solver_params: Mapping[str, Any] | None = parameter(None, dict, None)
    l1_ratio: float = parameter(0.0, Interval(Real, 0, 1, closed="both"))
    decay: str | None = parameter(None, StrOptions(set(DECAYS)), None)
    weight_decay: float | None = parameter(None, _at_least_0(), None)
    clip_norm: float | None = parameter(None, Interval(Real, 0, None, closed="neither"), None)
    warmup: int = parameter(0, _at_least_0(Integral))
    dropout: float = parameter(0.0, Interval(Real, 0, 1, closed="left"))
    batch_norm: bool = parameter(False, "boolean")
    weight_init: Any = parameter(None, callable, None)
    bias_init: Any = parameter(None, callable, None)
    sparsity: float = parameter(0.0, _at_least_0())
    sparsity_penalty: str = parameter("l1", StrOptions({"l1", "student_t", "kl"}))
    sparsity_target: float = parameter(0.05, Interval(Real, 0, 1, closed="neither"))
    pretraining: Mapping[str, Any] | None = parameter(None, dict, None)
    input_noise: float = parameter(0.0, _at_least_0())
    weight_noise: float = parameter(0.0, _at_least_0())
    mixup: float = parameter(0.0, _at_least_0())
    ema_decay: float | None = parameter(None, Interval(Real, 0, 1, closed="both"), None)
    snapshots: int = parameter(0, _at_least_0(Integral))
    scoring: Any = parameter(None, str, callable, None)
    callbacks: Sequence[Callable[..., Any]] | None = parameter(None, "array-like", None)
    dtype: str | None = parameter(None, StrOptions({"float32", "float64"}), None)

    _parameter_constraints = _Constraints()

    @property
    def _hidden(self) -> list[int]:
        sizes = np.atleast_1d(np.asarray(self.hidden_layer_sizes, dtype=object)).tolist()
        if not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be integers > 0, got {self.hidden_layer_sizes!r}.")
        return [int(size) for size in sizes]

    @property
    def _optimizer_class(self) -> type[optim.Optimizer] | None:
        """The optimizer class of `solver`. None if `solver` is "lbfgs" or a function that makes an optimizer."""
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
        """Return True if an option needs random numbers that scikit-learn's estimator does not draw."""
        return any(getattr(self, name) not in (None, 0) for name in DRAWING)

    @property
    def _runs_to_the_end(self) -> bool:
        """Return True if the learning rate is a schedule. The loss then never ends the training early."""
        return not (isinstance(self.learning_rate, str) and self.learning_rate in SKLEARN_RATES)


@dataclass(eq=False, repr=False)
class OfClasses:
    """The additional parameters of a classifier."""

    _: KW_ONLY
    class_weight: Any = parameter(None, StrOptions({"balanced"}), dict, None)
    label_smoothing: float = parameter(0.0, Interval(Real, 0, 1, closed="left"))


@dataclass(eq=False, repr=False)
class OfNumbers:
    """The parameter that only a regressor has. It comes before the other parameters."""

    loss: str = parameter("squared_error", StrOptions({"squared_error", "poisson"}))
