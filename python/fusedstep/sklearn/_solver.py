"""Make an optimizer and its learning rate from an estimator's parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _core, nn, optim, schedules
from .._base.arrays import Array
from ..ensemble import Snapshots
from ._parameters import SKLEARN_RATES, Parameters

OWN = ("lr", "weight_decay", "l1", "decay", "ema_decay")  # the estimator's parameters set these optimizer options


def make_optimizer(given: Parameters, model: nn.Sequential, steps: int) -> optim.Optimizer:
    """Return an optimizer for a training of `steps` steps.

    Weight decay and L1 apply to the weights only, not to the biases and not to gamma and beta of batch norm.

    Raises
    ------
    TypeError, ValueError
        If the optimizer refuses an argument, or if `given.solver` is a function that does not return an optimizer.
    """
    weights = {name: p for name, p in model.params.items() if name.endswith("weight")}
    others = {name: p for name, p in model.params.items() if name not in weights}
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": others}]
    cls = given._optimizer_class
    if cls is None:
        return _made_by_hand(given, groups)
    if given.weight_decay is not None:
        groups[0] |= {"weight_decay": given.weight_decay}
    else:
        groups[0] |= {"weight_decay": given.alpha * (1 - given.l1_ratio), "l1": given.alpha * given.l1_ratio}
    groups[1] |= {"weight_decay": 0.0, "l1": 0.0}
    options = _sklearn_options(given, cls) | _solver_params(given, cls)
    options |= {"lr": learning_rate(given, steps), "ema_decay": given.ema_decay}
    if given.decay is not None:
        options["decay"] = given.decay
    return cls(groups, **options)


def own_decay(cls: type[optim.Optimizer]) -> str:
    """Return the default of an optimizer's argument `decay`."""
    made: Any = cls
    return str(made([np.zeros(1)], lr=0.0).groups[0]["decay"])


def _made_by_hand(given: Parameters, groups: list[dict[str, Any]]) -> optim.Optimizer:
    made = given.solver([groups[0], groups[1] | {"weight_decay": 0.0, "l1": 0.0}])
    if not isinstance(made, optim.Optimizer):
        raise TypeError(f"solver must return a fusedstep optimizer, made from the groups it is given; got {made!r}")
    return made


def _sklearn_options(given: Parameters, cls: type[optim.Optimizer]) -> dict[str, Any]:
    """Return the arguments of Adam or SGD for which scikit-learn has parameters, such as `beta_1`."""
    adam = optim.registry["Adam"]
    if issubclass(cls, adam):
        inside = (given.solver_params or {}).get("eps_inside", False)
        return {"betas": (given.beta_1, given.beta_2), "eps": given.epsilon, "eps_hat": cls is adam and not inside}
    if issubclass(cls, optim.registry["SGD"]):
        return {"momentum": given.momentum, "nesterov": bool(given.nesterovs_momentum and given.momentum > 0)}
    return {}


def _solver_params(given: Parameters, cls: type[optim.Optimizer]) -> dict[str, Any]:
    names = [name for name in cls.options if name not in OWN]
    for name in given.solver_params or {}:
        if name == "weight_decay":
            raise ValueError(
                "solver_params must not have weight_decay, which is a parameter of the estimator itself; "
                f"got {given.solver_params['weight_decay']!r}"  # type: ignore[index]
            )
        if name not in names:
            raise ValueError(
                f"solver_params must have only these arguments of {cls.__name__}: {', '.join(names)}; got {name!r}"
            )
    return dict(given.solver_params or {})


def learning_rate(given: Parameters, steps: int) -> float | Callable[[int], float]:
    """Return the learning rate, or the schedule for a training of `steps` steps."""
    first, rate = first_rate(given), given.learning_rate
    after = max(1, steps - given.warmup)
    if callable(rate):
        schedule = copy.deepcopy(rate)  # a schedule with a state must not be shared between fits
    elif rate in SKLEARN_RATES:
        if not given.warmup:
            return first
        schedule = schedules.constant(first)
    elif rate == "cosine_restarts" and given.snapshots:
        schedule = schedules.cosine_restarts(first, max(1, after // given.snapshots))
    else:
        schedule = schedules.named(rate, first, after)
    return schedules.warmup(schedule, given.warmup) if given.warmup else schedule


def first_rate(given: Parameters) -> float:
    """Return `learning_rate_init`. If it is "auto", return the optimizer's default for small networks."""
    if given.learning_rate_init != "auto":
        return float(given.learning_rate_init)
    cls = given._optimizer_class
    assert cls is not None  # checked with the parameters
    return cls.for_small_networks.get("lr", float(cls.options["lr"].default))


def present_rate(optimizer: optim.Optimizer) -> float:
    """Return the learning rate of the last step."""
    rate = optimizer.groups[0]["lr"]
    return float(rate(max(optimizer.steps, 1)) if callable(rate) else rate)


def make_snapshots(given: Parameters, model: nn.Sequential, optimizer: optim.Optimizer) -> Snapshots | None:
    """Return the object that copies the network at the end of each cycle of the learning rate.

    The object keeps the latest `given.snapshots` copies. Return None if this number is 0.
    """
    if not given.snapshots:
        return None
    rate: Any = optimizer.groups[0]["lr"]
    return Snapshots(model, rate.schedule if given.warmup else rate, last=given.snapshots)


def frozen(optimizer: optim.Optimizer) -> dict[str, Any]:
    """Return an optimizer as data. From this data and a copy of the network, `thawed` makes the optimizer again."""
    names = [[k for k, g in zip(optimizer._keys, optimizer._group_of, strict=True) if g == i] for i in (0, 1)]
    options = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.groups]
    shared = {"ema_decay": optimizer._ema_decay, "seed": optimizer._seed}
    return {"class": type(optimizer), "names": names, "options": options, "shared": shared,
            "state": optimizer.state_dict()}  # fmt: skip


def thawed(known: dict[str, Any], model: nn.Sequential) -> optim.Optimizer:
    """Make an optimizer for a network from the data of `frozen`."""
    pairs = zip(known["names"], known["options"], strict=True)
    groups = [{"params": {name: model.params[name] for name in names}, **options} for names, options in pairs]
    shared = known.get("shared") or {"ema_decay": known["ema_decay"]}  # pickles of older versions
    optimizer: optim.Optimizer = known["class"](groups, **shared)
    optimizer.load_state_dict(known["state"])
    return optimizer


def decay_term(given: Parameters, optimizer: optim.Optimizer) -> Callable[[], float] | None:
    """Return a function that computes the penalty ``alpha * (l1_ratio |W|_1 + (1 - l1_ratio) / 2 |W|^2)``.

    W is all weights of the network. `alpha`, `l1_ratio` and `solver` are attributes of `given`. Return None if `alpha`
    is 0, if the decay is decoupled, or if `solver` is a function: then the loss does not contain this penalty.
    """
    if given._optimizer_class is None or not given.alpha or optimizer.groups[0]["decay"] == "decoupled":
        return None
    weights, l1 = list(optimizer.groups[0]["params"]), given.l1_ratio

    def penalty() -> float:
        total = 0.5 * (1 - l1) * sum(map(_core.sum_of_squares, weights))
        return given.alpha * (total + (l1 * sum(map(_l1_norm, weights)) if l1 else 0.0))

    return penalty


def _l1_norm(w: Array) -> float:
    return float(np.add.reduce(np.abs(w), axis=None))
