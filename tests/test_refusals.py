"""Optimizers refuse wrong arguments with a message that names the argument, before any array changes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep._base import checks as _checks
from support.oracle import CLASSES, every_class
from support.refusals import HUGE, NO_PARAMETERS, assert_refused, ones


@pytest.mark.parametrize("name", NO_PARAMETERS)
def test_optimizer_refuses_an_array_that_cannot_be_a_parameter(name: str) -> None:
    """A list, a dict and a list of groups contain a good array and a bad object. The message describes the bad one."""
    make, error, need, got = NO_PARAMETERS[name]
    good, bad = ones(2), make()
    with assert_refused(error, "Adam: params[1] must be", need, "got ", got):
        fs.Adam([good, bad])
    with assert_refused(error, 'Adam: params[1] ("b") must be', need, got):
        fs.Adam({"w": good, "b": bad})
    with assert_refused(error, "Adam: params[1] must be", need, got):
        fs.Adam([{"params": good}, {"params": [bad]}])
    assert (good == 1).all()


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        (ones(3), TypeError, ["params must be a list or a dict of arrays", "got one array"]),
        (np.float32(1), TypeError, ["params must be a list or a dict of arrays", "float32"]),
        (None, TypeError, ["params must be a list or a dict of arrays", "NoneType"]),
        ("abc", TypeError, ["params must be a list or a dict of arrays", "str"]),
        ([], ValueError, ["params must have at least one array", "none"]),
        ({}, ValueError, ["params must have at least one array", "none"]),
        ([{"params": []}], ValueError, ["params must have at least one array"]),
        (
            [ones(3), {"params": [ones(3)]}],
            TypeError,
            ["params must have only arrays or only groups", "got arrays and groups"],
        ),
        ([{"lr": 0.1}], ValueError, ['groups[0] must have "params"', "['lr']"]),
        ([{"params": 3}], TypeError, ['"params" of a group must be arrays', "int"]),
        ({3: ones(3)}, TypeError, ["names of params must be non-empty strings", "3"]),
        ({"": ones(3)}, TypeError, ["names of params must be non-empty strings", "''"]),
        ({"\ud800": ones(3)}, TypeError, ["names of params must be non-empty strings", "ud800"]),
        ([{"params": {"a": ones(3)}}, {"params": {"a": ones(3)}}], ValueError, ["must differ", "'a' twice"]),
        ([{"params": ones(3), "learning_rate": 1}], ValueError, ["groups[0]: learning_rate", "options are lr"]),
        ([{"params": ones(3), "ema_decay": 0.5}], ValueError, ["groups[0]: ema_decay", "not an option"]),
        ([{"params": ones(3), "lr": -1}], ValueError, ["groups[0]: lr must be at least 0", "-1"]),
    ],
)
def test_optimizer_refuses_wrong_collections_of_parameters_and_wrong_groups(
    params: Any, error: type[Exception], words: list[str]
) -> None:
    with assert_refused(error, "SGD: ", *words):
        fs.SGD(params)


@every_class
def test_optimizer_refuses_an_unknown_option(cls: Any) -> None:
    with assert_refused(
        TypeError, f"{cls.__name__}: learning_rate is not an option; the options are lr", "num_threads"
    ):
        cls([ones(3)], learning_rate=0.1)


@every_class
def test_optimizer_refuses_parameters_that_share_memory(cls: Any) -> None:
    whole, label = ones(10), f"{cls.__name__}: params["
    with assert_refused(ValueError, label, "must not share memory with params["):
        cls([whole, whole])
    with assert_refused(ValueError, label + "2]", "must not share", "params[0]"):
        cls([whole[:6], ones(3), whole[5:]])
    with assert_refused(ValueError, '("a")', "must not share", '("b")'):
        cls({"a": whole[5:], "b": whole[:6]})
    cls([whole[:5], whole[5:]])  # adjacent parts of one array share no memory, and are accepted
    assert (whole == 1).all()


# For each function that checks a hyperparameter: values that it refuses, and the requirement in the error message.
NEEDS: dict[Any, tuple[list[Any], str]] = {
    _checks.non_negative: ([-1, -1e-300, np.float32(-1)], "at least 0"),
    _checks.fraction: ([-0.1, 1, 1.5], "at least 0 and below 1"),
    _checks.open_fraction: ([0, 1, -0.5], "0"),
    _checks.up_to_one: ([-0.1, 1.5], "from 0 to 1"),
    _checks.positive: ([0, -1], "above 0"),
}
NOT_FINITE = [np.nan, np.inf, -np.inf, np.float64("nan"), HUGE, Fraction(HUGE)]
NOT_NUMBERS = ["0.1", None, True, [0.1], 1j, np.array([0.1, 0.2])]


@every_class
def test_optimizer_refuses_wrong_hyperparameters_and_names_them(cls: Any) -> None:
    """Each hyperparameter gets values out of range, values that are not finite, and objects of wrong types.

    Values out of range are also assigned to `groups[0]`, unless only the constructor accepts the hyperparameter.
    """
    p = ones(3)
    for name, check in cls._all_checks().items():
        what = f"{cls.__name__}: {name} must be"
        values, need = NEEDS.get(check, ([-1], "at least 0") if check is _checks.rate else ([], ""))
        for value in values:
            with assert_refused(ValueError, what, need, f"got {value!r}"):
                cls([p], **{name: value})
            if name in cls.only_at_first:
                continue
            with assert_refused(ValueError, what, need, f"got {value!r}"):
                cls([p]).groups[0][name] = value
        for value in NOT_FINITE if values else []:
            with assert_refused(ValueError, what, "finite", "got "):
                cls([p], **{name: value})
        for value in NOT_NUMBERS if values else []:
            with assert_refused(TypeError, what, "a number", f"got {value!r}"):
                cls([p], **{name: value})
        for value in (1, "yes", None) if check is _checks.flag else []:
            with assert_refused(TypeError, what, "True or False", f"got {value!r}"):
                cls([p], **{name: value})
        for value in ("L2", None, 1, np.array(["l2", "l2"])) if check is _checks.decay_form else []:
            with assert_refused(ValueError, what, '"l2", "decoupled" or "proximal"', "got "):
                cls([p], **{name: value})
        for value in (0.9, (0.9,), "ab", np.array([0.9, 0.9])) if check is _checks.betas else []:
            with assert_refused(TypeError, what, "a pair of numbers", "got "):
                cls([p], **{name: value})
        for value in ((1.0, 0.9), (0.9, -0.1), (0.9, np.nan)) if check is _checks.betas else []:
            with assert_refused(ValueError, f": {name}[", "must be", "got "):
                cls([p], **{name: value})
    assert (p == 1).all()


@every_class
def test_optimizer_refuses_a_misspelled_option_and_wrong_values_of_ema_decay_and_num_threads(cls: Any) -> None:
    for value in (-0.1, 1.1, np.nan):
        with assert_refused(ValueError, f"{cls.__name__}: ema_decay must be", repr(value)):
            cls([ones(3)], ema_decay=value)
    for value in (0, -1, 2.0, True, "2", 2**40):
        with assert_refused(ValueError, "num_threads must be a whole number", repr(value)):
            cls([ones(3)], num_threads=value)
    with pytest.raises(TypeError, match="momentumm"):
        cls([ones(3)], momentumm=0.9)


def test_optimizer_refuses_nesterov_without_momentum_or_with_dampening() -> None:
    for cls in CLASSES:
        if {"nesterov", "dampening"} <= cls.checks.keys():
            for more in ({}, {"momentum": 0.9, "dampening": 0.1}):
                with assert_refused(ValueError, "nesterov needs momentum above 0"):
                    cls([ones(3)], nesterov=True, **more)


@every_class
def test_step_refuses_a_wrong_learning_rate_from_a_schedule(cls: Any) -> None:
    bad = (-1.0, ValueError, "at least 0"), (np.nan, ValueError, "finite"), ("a", TypeError, "a number")
    for value, error, need in bad:
        p = ones(3)
        opt = cls([p], lr=lambda t: value)  # noqa: B023 (called in this turn of the loop)
        with assert_refused(error, "step: lr of groups[0] at step 1 must be", need, repr(value)):
            opt.step([ones(3)])
        assert (p == 1).all() and opt.steps == 0


def test_error_message_names_class_method_argument_requirement_and_value() -> None:
    opt = fs.AdamW({"layer1.weight": ones(2), "layer2.weight": ones(128, 64)})
    with pytest.raises(ValueError) as caught:
        opt.step([ones(2), ones(128, 64, dtype=np.float64)])
    want = (
        'AdamW.step: grads[1] ("layer2.weight") must be float32 (or 16-bit) of shape (128, 64); got float64 (128, 64)'
    )
    assert str(caught.value) == want
