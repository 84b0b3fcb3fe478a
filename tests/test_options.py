"""Hyperparameters that an optimizer's class declares with `Option`: signature, checks, docstring and generated files.

Other tests are about the source and the `repr` of optimizers.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep._base import checks
from fusedstep._base.rules import RULES
from fusedstep.optim._options import Option, under_a_flag
from support.bits import Array
from support.oracle import every_class
from support.refusals import assert_refused

ROOT = Path(__file__).parents[1]


class Halved(fs.optim.Optimizer):
    """Gradient descent with hyperparameters for these tests.

    Notes
    -----
    A source.
    """

    rule = "sgd"
    lr = Option(0.5, checks.rate, "Learning rate.")
    momentum = Option(0.25, checks.fraction, "At least 0 and below 1.")
    slow = Option(False, checks.flag, "Whether it waits.", by_name=True)
    start = Option(1.0, checks.positive, "What it begins with.", by_name=True, begins_state=True)
    weight_decay = Option(0.0, checks.non_negative, "Strength of the decay.")


class Quartered(Halved):
    """A subclass with other defaults of `lr` and `decay`."""

    lr = Option(0.25, checks.rate, "A smaller one.")
    decay = Option("decoupled", checks.decay_form, "How it decays.", by_name=True)


# The options that every optimizer has.
COMMON = "l1=0.0, decay='l2', maximize=False, ema_decay=None, num_threads=None, "
COMMON += "state_dtype=None, rounding=None, master_weights=False, seed=0"


def test_signature_of_an_optimizer_has_its_declared_options() -> None:
    def plain(cls: Any) -> str:
        parameters = inspect.signature(cls).parameters.values()
        return str(inspect.Signature([p.replace(annotation=p.empty) for p in parameters]))

    assert plain(Halved) == f"(params, lr=0.5, momentum=0.25, weight_decay=0.0, *, slow=False, start=1.0, {COMMON})"
    assert plain(Quartered) == plain(Halved).replace("0.5", "0.25").replace("'l2'", "'decoupled'")
    assert plain(fs.optim.Optimizer) == f"(params, *, {COMMON})"


def test_declared_option_is_checked_and_can_be_set_for_a_group() -> None:
    """Wrong values, unknown names, too many positional arguments and options that are given twice are refused."""
    w = np.ones(3)
    opt = Halved([{"params": [w], "momentum": 0.75}], 0.125, slow=True)
    shown = {name: opt.groups[0][name] for name in ("lr", "momentum", "slow", "start", "weight_decay", "decay")}
    assert list(shown.values()) == [0.125, 0.75, True, 1.0, 0.0, "l2"]
    with assert_refused(ValueError, "Halved: momentum must be at least 0 and below 1; got 1.5"):
        Halved([w], momentum=1.5)
    with assert_refused(ValueError, "groups[0]: start cannot be changed; make a new optimizer"):
        opt.groups[0]["start"] = 2.0
    with assert_refused(
        TypeError,
        "Halved: at most 4 arguments can be given by position (params, lr, momentum, weight_decay); got 5",
    ):
        Halved([w], 0.1, 0.2, 0.3, 0.4)
    with assert_refused(TypeError, "Halved: lr is given twice, by position and by name"):
        Halved([w], 0.1, lr=0.2)
    with assert_refused(
        TypeError, "Halved: fast is not an option; the options are lr, momentum, slow, start, weight_decay"
    ):
        Halved([w], fast=True)


def test_declared_option_is_described_in_the_docstring() -> None:
    """The generated section "Raises" comes before the section "Notes"."""
    for text in ("momentum : float\n    At least 0 and below 1.\n", "slow : bool\n    Whether it waits.\n"):
        assert text in (Halved.__doc__ or "")
    assert (Halved.__doc__ or "").index("Raises\n------") < (Halved.__doc__ or "").index("Notes\n-----")
    assert "lr : float or function of the step\n    A smaller one.\n" in (Quartered.__doc__ or "")
    assert 'decay : {"l2", "decoupled", "proximal"}\n    How it decays.\n' in (Quartered.__doc__ or "")


def test_option_declarations_determine_the_hyperparameters_that_a_kernel_gets() -> None:
    """`eps` is passed as `inside` if the flag `hat` is True, and otherwise as `outside`.

    The kernel gets 0 for each of its hyperparameters that no option provides.
    """
    options = {
        "betas": Option((0.5, 0.75), checks.betas, ""),
        "eps": Option(0.25, checks.positive, "", in_kernel=under_a_flag("inside", "hat", otherwise="outside")),
        "hat": Option(False, checks.flag, ""),
    }
    rule = RULES["adam"]._replace(hyper=("outside", "beta2", "hat", "beta1", "inside", "unknown"))
    group = {name: option.default for name, option in options.items()}
    assert rule.hyper_values(options, group) == [0.25, 0.75, 0.0, 0.5, 0.0, 0.0]
    assert rule.hyper_values(options, group | {"hat": True}) == [0.0, 0.75, 0.25, 0.5, 0.0, 0.0]


@every_class
def test_every_hyperparameter_of_a_kernel_comes_from_an_option(cls: Any) -> None:
    """NAG and SparseAdam are exceptions: their kernels also compute other optimizers, which have more options."""
    group = {name: option.default for name, option in cls.options.items()}
    flags = [name for name, value in group.items() if value is False]
    groups = [group, *({**group, flag: True} for flag in flags)]
    given = {place for each in groups for name, option in cls.options.items() for place in option.in_kernel(name, each)}
    unused: dict[Any, set[str]] = {fs.NAG: {"dampening"}, fs.SparseAdam: {"eps_inside", "eps_outside"}}
    assert set(RULES[cls.rule].hyper) - given <= unused.get(cls, set())


@every_class
def test_source_of_an_optimizer_has_at_most_50_lines(cls: Any) -> None:
    """Docstrings, blank lines and the method `reference` are not counted."""
    source = Path(inspect.getfile(cls)).read_text("utf-8")
    uncounted: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
        for part in (node.body[0],) if documented else ():  # type: ignore[attr-defined]
            uncounted.update(range(part.lineno, (part.end_lineno or 0) + 1))
        if isinstance(node, ast.FunctionDef) and node.name == "reference":
            uncounted.update(range(node.lineno - 1, (node.end_lineno or 0) + 1))
    lines = [line for i, line in enumerate(source.splitlines(), 1) if line.strip() and i not in uncounted]
    assert len(lines) <= 50, len(lines)


def test_files_generated_by_make_catalogue_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("catalogue", ROOT / "python" / "make_catalogue.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for generated in (module.catalogues, module.stubs):
        old = [path.name for path, text in generated().items() if path.read_text("utf-8") != text]
        assert not old, f"not up to date: {old}; run python python/make_catalogue.py"


@pytest.mark.parametrize(
    "command", [[sys.executable, "-m", "mypy"], [sys.executable, "-m", "basedpyright"]], ids=["mypy", "basedpyright"]
)
def test_type_checkers_accept_correct_user_code_and_report_mistakes(command: list[str]) -> None:
    """Each mistake in the script `user.py` has an "ignore" comment.

    If a checker finds no mistake in a line with such a comment, it reports the comment, and the test fails.

    If a type checker is not installed, the test is skipped. The nox session "types" runs the same check.
    """
    if importlib.util.find_spec(command[-1]) is None:
        pytest.skip(f"{command[-1]} is not installed")
    environment = os.environ | {"MYPYPATH": "python"}
    arguments = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True}
    done: Any = subprocess.run([*command, "tests/typing/user.py"], **arguments)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout


def test_declared_option_is_not_an_attribute() -> None:
    """The value of an option is an item of each group. The dict `options` of the class has the declaration."""
    opt: Any = Halved([np.ones(3)])
    with pytest.raises(AttributeError, match=r'momentum is an option of a group; read groups\[0\]\["momentum"\]'):
        _ = opt.momentum
    assert not hasattr(Halved, "momentum")
    assert isinstance(Halved.options["momentum"], Option)


def test_repr_of_an_optimizer_shows_learning_rates_weight_decays_and_groups() -> None:
    w: list[Array] = [np.ones(3), np.ones(4)]
    assert repr(fs.AdamW(w[:1], 0.1)) == (
        "AdamW(1 arrays, 3 elements, step 0, lr=0.1, weight_decay=0.01, decay='decoupled')"
    )
    groups = [{"params": w[:1], "lr": 0.1, "l1": 0.5}, {"params": w[1:], "lr": fs.schedules.constant(0.2)}]
    assert repr(fs.SGD(groups)) == (
        "SGD(2 arrays, 7 elements, step 0,\n"
        "  groups[0]: 1 arrays, lr=0.1, weight_decay=0.0, l1=0.5, decay='l2',\n"
        "  groups[1]: 1 arrays, lr=Constant(lr=0.2), weight_decay=0.0, decay='l2')"
    )
