"""Steps give the same bits as the optimizer's formula in NumPy.

This is so for all options, lengths of arrays, instruction sets, backends and numbers of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from support.bits import every_dtype, numbers, split
from support.fences import Fenced
from support.machines import MACHINES, SERIAL, Machine, running
from support.oracle import (
    LENGTHS,
    RULES,
    SHORT,
    STAGES,
    Options,
    actual,
    every_class,
    every_class_of_this_rate,
    every_variant,
    expected,
    switches,
    variants,
)

INFINITE = (np.inf, -np.inf, np.nan)


def assert_bits_of_the_oracle(
    cls: type[fs.optim.Optimizer],
    options: Options,
    stages: str,
    dtype: Any,
    lengths: list[int],
    machines: list[Machine],
    rng: np.random.Generator,
) -> None:
    """Take three steps on each of `machines`, and compare all results with NumPy, bit for bit.

    A machine is a combination of instruction set, backend and number of threads. `stages` is a key of `STAGES`, which
    contains options for the work before and after the update rule, for example weight decay. About one in fifty
    elements of the gradients is special, for example zero, denormal, inf or nan.
    """
    around, step_options = STAGES[stages]
    options = {"lr": 0.3, **options, **around}
    start = split(numbers(rng, sum(lengths), dtype), lengths)
    grads = [numbers(rng, sum(lengths), dtype, INFINITE) for _ in range(3)]
    want = expected(cls([a.copy() for a in start], **options), grads, step_options)
    for machine in machines:
        params = Fenced(start)
        with running(machine):
            got = actual(cls(params.arrays, **options), grads, step_options)
        params.check(machine)
        got.assert_same_bits(want, machine)


@every_dtype
@pytest.mark.parametrize("stages", ["plain", "l2-all", "decoupled-all", "proximal-all"])
@every_variant
def test_every_variant_of_an_optimizer_has_the_bits_of_numpy_on_every_instruction_set(
    cls: Any, options: Options, stages: str, dtype: Any, rng: np.random.Generator
) -> None:
    """A variant is a combination of boolean options and of options whose values select code of the kernel."""
    assert_bits_of_the_oracle(cls, options, stages, dtype, SHORT, SERIAL, rng)


@every_dtype
@pytest.mark.parametrize("stages", STAGES)
@every_class
def test_steps_with_weight_decay_clipping_scaling_or_averages_have_the_bits_of_numpy(
    cls: Any, stages: str, dtype: Any, rng: np.random.Generator
) -> None:
    """`stages` is the name of a set of options of the optimizer and of its steps.

    Some of these options are not in the name of the test. Examples are `maximize`, a schedule of the learning rate, a
    learning rate as an argument of the step, and `zero_grads`.
    """
    assert_bits_of_the_oracle(cls, {}, stages, dtype, SHORT, SERIAL, rng)


@every_dtype
@pytest.mark.parametrize("stages", ["plain", "l2-all"])
@every_class
def test_step_has_the_same_bits_for_every_number_of_threads_and_both_backends(
    cls: Any, stages: str, dtype: Any, rng: np.random.Generator
) -> None:
    """The bits are those of NumPy. The two backends are the package's own thread pool and OpenMP."""
    assert_bits_of_the_oracle(cls, variants(cls)[-1], stages, dtype, LENGTHS, MACHINES, rng)


@every_variant
def test_200_steps_with_the_same_gradient_have_the_bits_of_numpy(
    cls: Any, options: Options, rng: np.random.Generator
) -> None:
    """With many equal gradients, rounding can make the variance of RMSprop(centered=True) 0 or negative."""
    start, grads = numbers(rng, 300, np.float32), [numbers(rng, 300, np.float32)] * 200
    want = expected(cls([start.copy()], lr=0.01, **options), grads, {})
    actual(cls([start], lr=0.01, **options), grads, {}).assert_same_bits(want, "200 steps")


@every_class_of_this_rate
def test_step_with_learning_rate_zero_changes_no_parameter(cls: Any, rng: np.random.Generator) -> None:
    """The steps have L1 and L2 penalties. ASGD and Rprop are left out: they do not use the rate of the current step."""
    for stages in ("l2-elastic", "decoupled-elastic", "proximal-elastic"):
        assert_bits_of_the_oracle(cls, {"lr": 0.0}, stages, np.float32, SHORT, SERIAL, rng)
        options = {**STAGES[stages][0], "lr": 0.0}
        p = numbers(rng, 1000, np.float32)
        before = p.tobytes()
        cls([p], **options).step([np.ones_like(p)])
        assert p.tobytes() == before


@every_class
def test_optimizer_of_float32_and_float64_arrays_equals_separate_optimizers(cls: Any, rng: np.random.Generator) -> None:
    """After one step, each array has the same bits as if it had an optimizer of its own."""
    arrays = [numbers(rng, n, t) for n in (70, 5000, 3) for t in (np.float32, np.float64)]
    grads = [numbers(rng, a.size, a.dtype) for a in arrays]
    alone = [a.copy() for a in arrays]
    cls(arrays).step(grads)
    for a, g, mixed in zip(alone, grads, arrays, strict=True):
        cls([a]).step([g])
        assert a.tobytes() == mixed.tobytes()


def test_variants_of_the_tests_turn_on_every_option_that_selects_code_of_a_kernel() -> None:
    """A variant is a combination of options. Every boolean option occurs in at least one variant.

    `_variant` returns a number with one bit for each option that selects code of the kernel. Each bit must be 1 in the
    number of at least one variant.
    """
    compiled = dict.fromkeys(RULES, 0)
    for cls in fs.optim.registry.values():
        assert {name for options in variants(cls) for name in options} >= set(switches(cls))
        defaults = cls([np.zeros(1)]).groups[0]
        for options in variants(cls):
            compiled[cls.rule] |= cls._variant({**defaults, **options})
    assert compiled == {rule: (1 << len(bits)) - 1 for rule, (bits, *_) in RULES.items()}
