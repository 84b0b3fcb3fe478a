"""Make a network, its loss, an optimizer and a schedule from the settings."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import nn, optim, schedules
from ._data import Problem
from ._errors import UsageError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Settings:
    """The options of a training, without the options of the data."""

    hidden: list[int]
    activation: str
    batch_norm: bool
    dropout: float
    dtype: str
    optimizer: str
    extra: list[tuple[str, Any]]
    lr: float | None
    schedule: str
    warmup: int
    batch_size: int
    epochs: int
    patience: int
    weight_decay: float | None
    decay: str | None
    l1: float
    clip_norm: float | None
    ema: float | None
    seed: int
    class_weight: str = "none"
    state_dtype: str | None = None

    @classmethod
    def of(cls, args: argparse.Namespace, **changes: Any) -> Settings:
        """Take the settings from the parsed command line. `changes` replace options."""
        return cls(**{f.name: changes[f.name] if f.name in changes else getattr(args, f.name) for f in fields(cls)})

    def with_seed(self, seed: int) -> Settings:
        """Return the same settings with another seed."""
        return replace(self, seed=seed)

    def rngs(self) -> tuple[np.random.Generator, np.random.Generator]:
        """Return two independent random generators: for the initial weights and for the batches."""
        first, second = np.random.SeedSequence(self.seed).spawn(2)
        return np.random.default_rng(first), np.random.default_rng(second)


def build_model(problem: Problem, settings: Settings, rng: np.random.Generator) -> nn.Sequential:
    """Return the untrained network that the options describe. The output layer is linear.

    Raises
    ------
    UsageError
        If the options do not fit together.
    """
    if (settings.batch_norm or settings.dropout) and not settings.hidden:
        raise UsageError("--batch-norm and --dropout need hidden layers; got --hidden none")
    if settings.batch_norm and settings.batch_size == 1:
        raise UsageError("--batch-norm needs --batch-size >= 2; got 1")
    widths = [len(problem.input_mean), *settings.hidden]
    kind = nn.activations.registry[settings.activation]
    options: dict[str, Any] = {"batch_norm": settings.batch_norm, "dropout": settings.dropout}
    blocks = [
        nn.hidden_block(*ends, kind, weight_init=kind.weight_init(), **options) for ends in itertools.pairwise(widths)
    ]
    last = nn.Linear(widths[-1], problem.outputs)
    return nn.Sequential(*itertools.chain(*blocks), last, dtype=settings.dtype, rng=rng)


def build_loss(problem: Problem) -> nn.Loss:
    """Choose the loss that belongs to the task."""
    return nn.SoftmaxNLL() if problem.task == "classification" else nn.MeanSquaredError()


def learning_rate(settings: Settings) -> float:
    """Return the learning rate of `settings`. If it is None, return the optimizer's default for small networks."""
    if settings.lr is not None:
        return settings.lr
    chosen = optim.registry[settings.optimizer]
    return chosen.for_small_networks.get("lr", float(chosen.options["lr"].default))


def build_schedule(settings: Settings, steps: int) -> Callable[[int], float]:
    """Return the schedule for the planned number of steps.

    Raises
    ------
    UsageError
        If the warm-up is at least as long as the run.
    """
    if settings.warmup >= steps:
        raise UsageError(f"--warmup must be below the {steps} steps of the run; got {settings.warmup}")
    lr, after = learning_rate(settings), steps - settings.warmup
    schedule = schedules.named(settings.schedule, lr, after)
    return schedules.warmup(schedule, settings.warmup) if settings.warmup else schedule


def build_optimizer(model: nn.Sequential, settings: Settings, lr: Callable[[int], float]) -> optim.Optimizer:
    """Return the optimizer. Biases, gamma and beta are in a group without decay.

    Raises
    ------
    UsageError
        If the optimizer refuses an argument.
    """
    _check_extra(settings)
    options: dict[str, Any] = {"lr": lr, "l1": settings.l1, "ema_decay": settings.ema}
    weight_decay = settings.weight_decay
    if weight_decay is None and settings.decay in (
        None,
        "decoupled",
    ):  # the value below would be far too strong for L2 or proximal decay
        weight_decay = optim.registry[settings.optimizer].for_small_networks.get("weight_decay")
    given = {"weight_decay": weight_decay, "decay": settings.decay, "state_dtype": settings.state_dtype}
    options |= {name: value for name, value in given.items() if value is not None} | dict(settings.extra)
    weights = {name: p for name, p in model.params.items() if name.endswith("weight")}
    others = {name: p for name, p in model.params.items() if name not in weights}
    groups = [{"params": weights}, {"params": others, "weight_decay": 0.0, "l1": 0.0}]
    try:
        return optim.registry[settings.optimizer](groups, **options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--optimizer {settings.optimizer}: {str(error).splitlines()[0]}") from None


def describe_optimizer(opt: optim.Optimizer, settings: Settings) -> str:
    """Describe the optimizer: its name, its learning rate and its penalties."""
    group = opt.groups[0]
    parts = [settings.optimizer, f"learning rate {learning_rate(settings):g} ({settings.schedule} schedule)"]
    parts += [f"{settings.warmup} steps of warm-up"] * bool(settings.warmup)
    form = group.get("decay", "")
    decay, l1 = group.get("weight_decay", 0.0), group.get("l1", 0.0)
    parts.append(f"weight decay {decay:g} ({form})" if decay else "no weight decay")
    parts += [f"L1 {l1:g}"] * bool(l1)
    return ", ".join(parts)


def _check_extra(settings: Settings) -> None:
    """Refuse arguments that the optimizer does not have, or that another option sets."""
    elsewhere = {"lr", "weight_decay", "l1", "decay", "ema_decay"}
    names = [name for name in optim.registry[settings.optimizer].options if name not in elsewhere]
    for name, _ in settings.extra:
        if name not in names:
            raise UsageError(
                f"--set: the argument of {settings.optimizer} must be one of {', '.join(names)}; got {name!r}"
            )
