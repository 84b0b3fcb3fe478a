"""A step accepts the gradients' norm as `grad_norm`. The options of a step give tensors the same bits as arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from support.torch_cases import every_optimizer, ours

SIZES = ((3, 4), (700,), ())
BAD = [math.nan, math.inf]


def numbers(seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(size), np.float32) for size in SIZES]


class Arrays:
    """An optimizer of NumPy arrays."""

    def __init__(self, name: str = "SGD", **options: Any) -> None:
        self.params = numbers(0)
        self.opt = fs.optim.registry[name](self.params, lr=0.1, **options)

    def step(self, grads: list[Any], grad_norm: Any = None, **options: Any) -> tuple[Any, bool]:
        """Take a step. Return the norm that the step reports, and True if the step was skipped."""
        info = self.opt.step(grads, grad_norm=grad_norm, **options)
        return info.grad_norm, info.skipped

    def values(self) -> list[Any]:
        """Return copies of the parameters."""
        return [p.copy() for p in self.params]


class Tensors:
    """An optimizer of torch tensors. The options of a step (such as `clip_norm`) are attributes of this optimizer."""

    def __init__(self, name: str = "SGD", **options: Any) -> None:
        import torch

        self.torch = torch
        self.params = [torch.from_numpy(p.copy()).requires_grad_() for p in numbers(0)]
        self.opt = ours(name)(self.params, lr=0.1, **options)

    def step(self, grads: list[Any], grad_norm: Any = None, **options: Any) -> tuple[Any, bool]:
        """Take a step. Return the norm that the step reports, and True if the step was skipped."""
        for name, value in options.items():
            setattr(self.opt, name, value)
        for p, g in zip(self.params, grads, strict=True):
            p.grad = self.torch.from_numpy(np.array(g))
        self.opt.step(grad_norm=grad_norm)
        return self.opt.grad_norm, self.opt.skipped

    def values(self) -> list[Any]:
        """Return copies of the parameters."""
        return [p.detach().numpy().copy() for p in self.params]


@pytest.fixture(params=[Arrays, Tensors], ids=["arrays", "tensors"])
def steps(request: Any, torch: Any) -> Any:
    """Return `Arrays` or `Tensors`."""
    return request.param


def equal(a: list[Any], b: list[Any]) -> bool:
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))


def test_step_with_the_computed_norm_as_grad_norm_equals_a_step_without_grad_norm(steps: Any) -> None:
    without, with_norm = steps(), steps()
    norm, _ = without.step(numbers(1), clip_norm=2.0)
    assert norm > 2, "the step must clip"
    assert with_norm.step(numbers(1), grad_norm=norm, clip_norm=2.0) == (norm, False)
    assert equal(without.values(), with_norm.values())


def test_clipping_uses_the_given_norm_instead_of_the_computed_one(steps: Any) -> None:
    """If the given norm is below `clip_norm`, the gradients are not clipped."""
    clipped, scaled = steps(), steps()
    assert clipped.step(numbers(1), grad_norm=8.0, clip_norm=2.0) == (8.0, False)
    scaled.step([(g * np.float32(2.0 / (8.0 + 1e-6))).astype(np.float32) for g in numbers(1)])
    for a, b in zip(clipped.values(), scaled.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    unclipped = steps()
    assert unclipped.step(numbers(1), grad_norm=1.0, clip_norm=2.0)[0] == 1.0
    plain = steps()
    plain.step(numbers(1))
    assert equal(unclipped.values(), plain.values())


def test_without_clipping_a_given_norm_is_reported_and_has_no_other_effect(steps: Any) -> None:
    with_norm, without = steps(), steps()
    assert with_norm.step(numbers(1), grad_norm=1e6) == (1e6, False)
    without.step(numbers(1))
    assert equal(with_norm.values(), without.values())


@pytest.mark.parametrize("norm", BAD)
def test_a_non_finite_grad_norm_skips_the_step_if_skip_nonfinite_is_true(norm: float, steps: Any) -> None:
    """A later step with a finite `grad_norm` is not skipped."""
    one = steps()
    reported, skipped = one.step(numbers(1), grad_norm=norm, skip_nonfinite=True, clip_norm=2.0)
    assert skipped
    assert reported == norm or math.isnan(norm)
    assert equal(one.values(), numbers(0))
    assert not one.step(numbers(1), grad_norm=3.0)[1]
    assert not equal(one.values(), numbers(0))


def test_with_a_finite_grad_norm_the_gradients_are_not_checked_for_nan(steps: Any) -> None:
    """If `grad_norm` is given, `skip_nonfinite` checks only this norm.

    Without `grad_norm`, the step with the same gradients is skipped, because one of them contains a nan.
    """
    one, grads = steps(), numbers(1)
    grads[1][5] = np.nan
    assert not one.step(grads, grad_norm=3.0, skip_nonfinite=True)[1]
    changed = one.values()[1]
    assert np.isnan(changed).sum() == 1
    other = steps()
    assert other.step(grads, skip_nonfinite=True)[1]
    assert equal(other.values(), numbers(0))


@pytest.mark.parametrize("norm", BAD)
def test_clipping_with_a_nan_norm_makes_all_parameters_nan_and_with_an_infinite_norm_changes_none(
    norm: float, steps: Any
) -> None:
    """Clipping with an infinite norm makes the gradients 0. So the step of `SGD` changes no parameter."""
    one = steps()
    one.step(numbers(1), grad_norm=norm, clip_norm=2.0)
    if math.isnan(norm):
        assert all(np.isnan(a).all() for a in one.values())
    else:
        assert equal(one.values(), numbers(0))


@pytest.mark.parametrize("norm", [-1.0, -math.inf, "3", [1.0], "nan"])
def test_step_refuses_a_grad_norm_that_is_not_a_norm(norm: Any, steps: Any) -> None:
    one = steps()
    with pytest.raises((ValueError, TypeError), match=r"SGD\.step: grad_norm must be"):
        one.step(numbers(1), grad_norm=norm, clip_norm=2.0)
    assert equal(one.values(), numbers(0))


OPTIONS: list[dict[str, Any]] = [
    {"clip_value": 0.3},
    {"clip_value": 0.3, "clip_norm": 1.0},
    {"decay_scale": 0.25},
    {"decay_scale": 0.0},
    {"skip_nonfinite": True},
    {"skip_nonfinite": True, "clip_value": 0.2, "clip_norm": 3.0, "decay_scale": 0.5},
]


@every_optimizer
def test_step_options_give_tensors_the_same_bits_as_arrays(name: str, torch: Any) -> None:
    """For each set of options, tensors and arrays take the same three steps.

    In the second step, one gradient contains inf.
    """
    for options in OPTIONS:
        arrays, tensors = Arrays(name, weight_decay=0.1), Tensors(name, weight_decay=0.1, **options)
        for t in range(3):
            grads = numbers(t + 1)
            if t == 1:
                grads[1][3] = np.inf
            reported = [arrays.step([g.copy() for g in grads], **options), tensors.step(grads)]
            assert str(reported[0]) == str(reported[1]), options
            skipped = reported[0][1]
            assert skipped == (t == 1 and bool(options.get("skip_nonfinite"))), options
        assert equal(arrays.values(), tensors.values()), options


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("clip_value", -1.0),
        ("clip_value", "x"),
        ("decay_scale", -1.0),
        ("decay_scale", math.nan),
        ("skip_nonfinite", 1),
    ],
)
def test_torch_optimizer_refuses_wrong_step_options(option: str, value: Any, torch: Any) -> None:
    """The constructor refuses a wrong value. If one is assigned to an attribute, the next step refuses it."""
    with pytest.raises((ValueError, TypeError), match=rf"SGD: {option} must be"):
        Tensors("SGD", **{option: value})
    one = Tensors("SGD")
    with pytest.raises((ValueError, TypeError), match=option if value != "x" else "must be|number"):
        one.step(numbers(1), **{option: value})
    assert equal(one.values(), numbers(0))
