"""Check that the parameters of an estimator do not contradict each other."""

from __future__ import annotations

from typing import Any

from ..optim import Optimizer
from ._parameters import Parameters
from ._solver import own_decay

NOT_FOR_LBFGS = ("dropout", "batch_norm", "input_noise", "weight_noise", "mixup", "ema_decay", "snapshots", "clip_norm",
                 "warmup", "l1_ratio", "decay", "weight_decay", "callbacks", "solver_params", "sparsity",
                 "scoring")  # fmt: skip
OPTIMIZERS_OWN = ("solver_params", "l1_ratio", "decay", "weight_decay", "ema_decay", "warmup")
DEFAULTS: dict[str, Any] = {"learning_rate": "constant"}  # defaults that turn an option off but are not falsy


def check_options(given: Parameters) -> None:
    """Refuse parameters that contradict each other or would have no effect.

    Raises
    ------
    TypeError, ValueError
        If parameters are refused, or a callback is not a function.
    """
    cls = given._optimizer_class
    if given.solver == "lbfgs":
        _refuse(given, NOT_FOR_LBFGS, "solver='lbfgs' uses the gradient of all rows and does not support {name}")
        if given._runs_to_the_end:
            raise ValueError(f"solver='lbfgs' has no learning rate; got learning_rate={given.learning_rate!r}")
    elif cls is None:
        why = "{name} must not be set if solver is a function, because the function sets the options of its optimizer"
        _refuse(given, OPTIMIZERS_OWN, why)
        if given.learning_rate != "constant" or given.learning_rate_init == "auto":
            raise ValueError(
                "if solver is a function, learning_rate must be 'constant' and learning_rate_init must not be 'auto', "
                "because the function sets the learning rate; got "
                f"learning_rate={given.learning_rate!r}, learning_rate_init={given.learning_rate_init!r}"
            )
    if given.weight_decay is not None and cls is not None:
        _check_weight_decay(given, cls)
    if not given._hidden:
        why = "{name} needs hidden layers, but hidden_layer_sizes is empty"
        _refuse(given, ("dropout", "batch_norm", "sparsity", "pretraining"), why)
    if given.batch_norm and given.batch_size == 1:
        raise ValueError("batch_norm needs batch_size >= 2; got 1")
    if given.pretraining is not None and given.batch_norm:
        raise ValueError("pretraining needs batch_norm=False; got batch_norm=True")
    if given.sparsity and given.sparsity_penalty == "kl" and given.activation != "logistic":
        raise ValueError(
            f"activation must be 'logistic' with sparsity_penalty='kl', which needs outputs from 0 to 1; "
            f"got {given.activation!r}"
        )
    for callback in given.callbacks or ():
        if not callable(callback):
            raise TypeError(f"callbacks must be functions of (estimator, epoch); got {callback!r}")
    if given.snapshots:
        _check_snapshots(given)


def _check_weight_decay(given: Parameters, cls: type[Optimizer]) -> None:
    form = given.decay or own_decay(cls)
    if form != "decoupled":
        raise ValueError(
            f"weight_decay needs decay='decoupled' (for a decay of {form!r}, use alpha instead); got "
            f"weight_decay={given.weight_decay!r}, solver={given.solver!r}, decay={given.decay!r}"
        )
    _refuse(given, ("l1_ratio",), "weight_decay replaces the penalty alpha, so {name}, a share of alpha, must be 0")


def _refuse(given: Parameters, names: tuple[str, ...], why: str) -> None:
    for name in names:
        if getattr(given, name, None):
            raise ValueError(f"{why.format(name=name)}; got {name}={getattr(given, name)!r}")


def _check_snapshots(given: Parameters) -> None:
    _refuse(given, ("early_stopping", "ema_decay"), "snapshots does not support {name}")
    rate = given.learning_rate
    if rate != "cosine_restarts" and not callable(getattr(rate, "ends_cycle", None)):
        raise ValueError(
            f"snapshots need learning_rate='cosine_restarts', or a schedule with a method ends_cycle(t); got {rate!r}"
        )
