"""Options of all optimizers in the registry, and the expected results of steps, computed with NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain, combinations
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import _core
from fusedstep._base import checks as _checks
from fusedstep.optim import _reference

from .bits import Array, assert_same_bits, split
from .fences import Fenced

Options = dict[str, Any]

RULES = _core.rules()
CLASSES = [cls for cls in fs.optim.registry.values() if cls.element_wise]
#: Optimizers that torch also has. SparseAdam is left out, because torch's SparseAdam accepts no dense gradients.
TORCHS = [cls for cls in CLASSES if cls.in_torch and cls is not fs.SparseAdam]
# Lengths below, at and above the width of a SIMD register and of several registers. 100,003 elements are divided among
# up to four threads, which take 4,096 elements at a time.
SHORT = [*range(71), 127, 128, 129, 1000, 1025]
LENGTHS = [*SHORT, 100_003]

# For each function that checks hyperparameters: a valid value that is not their default. Hyperparameters that another
# function checks keep their defaults.
SAMPLES = {
    _checks.flag: True,
    _checks.fraction: 0.7,
    _checks.open_fraction: 0.7,
    _checks.up_to_one: 0.3,
    _checks.non_negative: 0.013,
    _checks.positive: 0.013,
    _checks.betas: (0.8, 0.95),
    _checks.betas_of_interpolation: (0.8, 0.95),
    _checks.three_betas: (0.8, 0.95, 0.97),
    _checks.factors_around_one: (0.4, 1.3),
    _checks.bounds: (1e-3, 3.0),
}

#: Optimizers that do not use the learning rate of the current step. ASGD uses the rate of the step before, and Rprop
#: uses only the rate of the first step.
OTHER_RATES = {"ASGD", "Rprop"}

every_class_of_this_rate = pytest.mark.parametrize(
    "cls", [c for c in CLASSES if c.__name__ not in OTHER_RATES], ids=lambda c: c.__name__
)
every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
every_class_of_torch = pytest.mark.parametrize("cls", TORCHS, ids=lambda c: c.__name__)
needs_safetensors = pytest.mark.skipif(find_spec("safetensors") is None, reason="needs safetensors")


def accepted(cls: type[fs.optim.Optimizer], options: Options) -> bool:
    """Return True if the optimizer accepts this combination of options."""
    try:
        cls([np.zeros(1)], **options)
    except ValueError:
        return False
    return True


def switches(cls: type[fs.optim.Optimizer]) -> list[str]:
    """Return the names of all options that are True or False, or that select a variant of the kernel."""
    return [n for n, check in cls.checks.items() if check is _checks.flag or n in RULES[cls.rule][0]]


def variants(cls: type[fs.optim.Optimizer]) -> list[Options]:
    """Return every valid combination of the options from `switches`.

    Each combination occurs once with the defaults of the other hyperparameters. If `SAMPLES` has values for some of
    them, the combination occurs a second time, with these values. The default of weight_decay always stays.
    """
    names = switches(cls)
    found = []
    for on in chain.from_iterable(combinations(names, n) for n in range(len(names) + 1)):
        options = {name: SAMPLES[cls.checks[name]] for name in on}
        if not accepted(cls, options):
            continue
        dials = {
            name: SAMPLES[check]
            for name, check in cls.checks.items()
            if name not in (*names, "weight_decay")
            and check in SAMPLES
            and accepted(cls, {**options, name: SAMPLES[check]})
        }
        found += [options, {**options, **dials}] if dials else [options]
    return found


every_variant = pytest.mark.parametrize(
    ("cls", "options"),
    [pytest.param(c, o, id=f"{c.__name__}-{'+'.join(o) or 'default'}") for c in CLASSES for o in variants(c)],
)


def _stages() -> dict[str, tuple[Options, Options]]:
    """Return named pairs (options of the optimizer, options of a step) for the work before and after the update rule.

    Most pairs set one or two options. The pairs whose names end in "-all" set many options together.
    """
    stages: dict[str, tuple[Options, Options]] = {
        "plain": ({}, {}),
        "maximize": ({"maximize": True}, {}),
        "ema": ({"ema_decay": 0.9}, {}),
        "schedule": ({"lr": lambda t: 0.3 / t}, {}),
        "lr_once": ({}, {"lr": 0.07}),
        "clip_value": ({}, {"clip_value": 0.4}),
        "grad_scale": ({}, {"grad_scale": 3.0}),
        "zero_grads": ({}, {"zero_grads": True}),
    }
    # 1e-50 is 0 in float32
    stages["l2-underflow"] = ({"decay": "l2", "weight_decay": 1e-50, "l1": 1e-50}, {"clip_value": 0.0})
    everything = {"maximize": True, "ema_decay": 0.9, "lr": lambda t: 0.3 / t}
    around = {"clip_value": 0.4, "grad_scale": 3.0, "decay_scale": 0.6, "zero_grads": True}
    for decay in ("l2", "decoupled", "proximal"):
        for name, penalty in {
            "decay": {"weight_decay": 0.1},
            "l1": {"l1": 0.02},
            "elastic": {"weight_decay": 0.1, "l1": 0.02},
        }.items():
            stages[f"{decay}-{name}"] = ({"decay": decay, **penalty}, {"decay_scale": 0.6})
        stages[f"{decay}-all"] = ({**everything, "decay": decay, "weight_decay": 0.1, "l1": 0.02}, around)
    return stages


STAGES = _stages()


@dataclass
class Outcome:
    """The parameters, states and averages after steps. Each is one flat array."""

    params: Array
    state: dict[str, Array]
    ema: Array | None

    def assert_same_bits(self, want: Outcome, what: Any) -> None:
        """Assert that all arrays have the same bits as those of `want`. Any two nans count as equal."""
        assert_same_bits(self.params, want.params, (what, "params"), any_nan=True)
        assert self.state.keys() == want.state.keys()
        for name, array in self.state.items():
            assert_same_bits(array, want.state[name], (what, name), any_nan=True)
        if want.ema is not None and self.ema is not None:
            assert_same_bits(self.ema, want.ema, (what, "ema"), any_nan=True)
        assert (self.ema is None) == (want.ema is None)


def outcome(opt: fs.optim.Optimizer) -> Outcome:
    """Return copies of the parameters, states and averages of an optimizer."""
    names = next(iter(opt.state.values()))
    state = {n: np.concatenate([s[n].ravel() for s in opt.state.values()]) for n in names}
    ema = None if opt.ema is None else np.concatenate([a.ravel() for a in opt.ema])
    return Outcome(np.concatenate([a.ravel() for a in opt.params]), state, ema)


def expected(opt: fs.optim.Optimizer, grads: Sequence[Array], step_options: Options) -> Outcome:
    """Compute in NumPy the results of steps of `opt`, which itself does not change.

    Each item of `grads` is one flat array with the gradients of all parameters in one step.
    """
    now, group = outcome(opt), opt.groups[0]
    known = {k: v for k, v in step_options.items() if k in ("clip_value", "decay_scale")}
    known["factor"] = 1.0 / step_options.get("grad_scale", 1.0)
    for t, g in enumerate(grads, opt.steps + 1):
        lr = step_options.get("lr", group["lr"](t) if callable(group["lr"]) else group["lr"])
        with np.errstate(all="ignore"):
            now.params = _reference.step(type(opt), now.params, g, now.state, t, lr, group, **known)
            if now.ema is not None:
                now.ema = _reference.average(now.ema, now.params, opt._ema_decay)
    return now


def actual(opt: fs.optim.Optimizer, grads: Sequence[Array], step_options: Options) -> Outcome:
    """Take steps of `opt`, and return the results. Each item of `grads` is one flat array, as in `expected`.

    Assert that a step does not change the gradients. With zero_grads=True, it must set them to +0.
    """
    sizes = [a.size for a in opt.params]
    for g in grads:
        fenced = Fenced(split(g, sizes))
        before = fenced.buffer.tobytes()
        opt.step(fenced.arrays, **step_options)
        fenced.check("nothing may be written outside the gradients")
        if step_options.get("zero_grads"):
            assert not fenced.buffer[~fenced.outside].view(f"u{g.itemsize}").any(), "grads must be +0"
        else:
            assert fenced.buffer.tobytes() == before, "grads must be unchanged"
    return outcome(opt)


def snapshot(opt: fs.optim.Optimizer) -> list[bytes]:
    """Return copies of the bytes of the parameters, averages and states."""
    return [a.tobytes() for a in (*opt.params, *(opt.ema or []), *(a for s in opt.state.values() for a in s.values()))]
