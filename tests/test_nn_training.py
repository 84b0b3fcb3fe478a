"""`nn.Batches` and the training loop `nn.Trainer`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import nn, schedules
from support.slopes import assert_same_gradient, differences

LOSSES: dict[str, Any] = {
    "mse": (nn.MeanSquaredError, lambda rng: rng.standard_normal((5, 3))),
    "bce": (nn.BinaryCrossEntropy, lambda rng: rng.random((5, 3))),
    "nll": (nn.SoftmaxNLL, lambda rng: rng.integers(0, 3, 5)),
    "nll_soft": (nn.SoftmaxNLL, lambda rng: rng.dirichlet(np.ones(3), 5)),
    "hinge": (nn.MulticlassHinge, lambda rng: rng.integers(0, 3, 5)),
}


@pytest.mark.parametrize("merge", [False, True])
def test_each_epoch_of_batches_has_every_row_once(merge: bool) -> None:
    """With `merge_single`, a last batch of one row is merged into the batch before."""
    for n in range(1, 30):
        for size in range(1, 35):
            x = np.arange(float(n))[:, None]
            batches = nn.Batches(x, np.arange(n), np.arange(n) + 1.0, size=size, merge_single=merge)
            order = np.random.default_rng(n).permutation(n)
            sizes = []
            for batch in batches.epoch(order):
                assert batch.weights is not None
                assert (batch.x[:, 0] == batch.targets).all()
                assert (batch.weights == batch.targets + 1).all()
                sizes.append(len(batch.x))
            assert np.concatenate([batch.targets for batch in batches.epoch(order)]).tolist() == order.tolist()
            assert np.concatenate([batch.targets for batch in batches.epoch()]).tolist() == list(range(n))
            assert len(sizes) == len(batches) and max(sizes) <= size + merge
            if merge and size > 1 and n > 1:
                assert min(sizes) > 1


def test_batches_refuse_arrays_of_different_lengths_and_a_size_of_zero() -> None:
    with pytest.raises(ValueError, match=r"Batches: targets must have 3 rows; got 2"):
        nn.Batches(np.zeros((3, 1)), np.zeros(2), size=1)
    with pytest.raises(ValueError, match=r"Batches: size must be an integer >= 1; got 0"):
        nn.Batches(np.zeros((3, 1)), np.zeros(3), size=0)


@pytest.mark.parametrize("name", LOSSES)
def test_row_with_weight_n_has_the_effect_of_n_equal_rows(name: str, rng: np.random.Generator) -> None:
    """The loss with weights equals the loss of repeated rows. The gradient agrees with finite differences."""
    kind, make = LOSSES[name]
    loss = kind()
    outputs, targets, weights = rng.standard_normal((5, 3)), make(rng), np.array([2.0, 0.0, 1.0, 3.0, 1.0])
    value, gradient = loss.value_and_gradient(outputs, targets, weights)
    gradient, repeated = gradient.copy(), np.repeat(np.arange(5), weights.astype(int))
    assert value == pytest.approx(loss(outputs[repeated], targets[repeated]))
    assert_same_gradient(gradient, differences(lambda: loss(outputs, targets, weights), outputs))


@pytest.mark.parametrize("unit", [1e-320, 1e-310, 1e-40, 1e39, 1e307])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loss_does_not_change_if_all_row_weights_are_multiplied_by_a_number(
    dtype: Any, unit: float, rng: np.random.Generator
) -> None:
    """The number is `unit`. The gradient does not change either."""
    outputs, weights = rng.standard_normal((3, 2)).astype(dtype), np.array([1.0, 2.0, 5.0])
    loss, targets = nn.MeanSquaredError(), np.zeros((3, 2))
    value, gradient = loss.value_and_gradient(outputs, targets, weights)
    gradient = gradient.copy()
    scaled = loss.value_and_gradient(outputs, targets, weights * unit)
    assert scaled[0] == pytest.approx(value, rel=1e-3)
    np.testing.assert_allclose(scaled[1], gradient, rtol=1e-3)


@pytest.mark.parametrize("weights", [np.ones(4), np.array([1, 1, -1, 1, 1.0]), np.zeros(5), np.full(5, np.nan)])
def test_loss_refuses_row_weights_that_are_negative_or_nan_or_all_zero_or_too_few(weights: Any) -> None:
    with pytest.raises(ValueError, match="MeanSquaredError: weights must be"):
        nn.MeanSquaredError()(np.ones((5, 1)), np.ones(5), weights)


def small(optimizer: Any = fs.SGD, **options: Any) -> tuple[nn.Trainer, nn.Batches]:
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1), dtype=np.float64, rng=0)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((10, 2))
    opt = optimizer(model.params, lr=0.1, **options.pop("of_optimizer", {}))
    return nn.Trainer(model, nn.MeanSquaredError(), opt, **options), nn.Batches(x, x.sum(axis=1), size=4)


def test_epoch_takes_a_step_per_batch_and_returns_the_mean_loss_over_rows() -> None:
    """A second trainer takes the same steps one by one."""
    trainer, batches = small(of_optimizer={"momentum": 0.5})
    twin, _ = small(of_optimizer={"momentum": 0.5})
    values = [twin.step(batch) for batch in batches.epoch()]
    mean = trainer.epoch(batches.epoch())
    assert mean == pytest.approx(np.average(values, weights=[4, 4, 2]))
    assert trainer.steps == 3
    assert np.array_equal(trainer.model.arena, twin.model.arena)


def test_trainer_computes_gradients_of_nag_at_the_look_ahead_point() -> None:
    """The gradients equal those of a second model whose parameters are at the look-ahead point."""
    trainer, batches = small(fs.NAG)
    batch = next(batches.epoch())
    trainer.step(batch)
    before = trainer.model.arena.copy()
    opt = trainer.optimizer
    with opt.lookahead():  # type: ignore[attr-defined]
        there = trainer.model.arena.copy()
    trainer.step(batch)
    assert not np.array_equal(before, there)
    expected, _ = small()
    expected.model.arena[:] = there
    expected.model.backward(expected.loss.gradient(expected.model.forward(batch.x), batch.targets))
    assert np.array_equal(trainer.model.grad_arena, expected.model.grad_arena)


def test_option_decay_by_rows_divides_weight_decay_by_the_number_of_rows_in_the_batch() -> None:
    """If the rows have weights, the sum of these weights replaces the number of rows."""
    trainer, batches = small(of_optimizer={"weight_decay": 0.8}, decay_by_rows=True)
    twin, _ = small(of_optimizer={"weight_decay": 0.2})
    batch = next(batches.epoch())
    trainer.step(batch), twin.step(batch)
    np.testing.assert_allclose(trainer.model.arena, twin.model.arena, rtol=1e-12)
    trainer.step(batch._replace(weights=np.full(4, 2.0))), twin.step(batch)
    assert not np.allclose(trainer.model.arena, twin.model.arena, rtol=1e-6)


def test_trainer_takes_no_step_if_the_loss_is_not_finite() -> None:
    trainer, batches = small()
    before = trainer.model.arena.copy()
    bad = [batch._replace(targets=batch.targets + np.inf) for batch in batches.epoch()]
    with np.errstate(invalid="ignore"):
        assert trainer.epoch(bad) == np.inf
    assert np.array_equal(trainer.model.arena, before) and trainer.steps == 0


def test_epoch_ends_when_the_function_given_as_stop_returns_true() -> None:
    trainer, batches = small()
    seen: list[float] = []
    trainer.epoch(batches.epoch(), stop=lambda value: seen.append(value) or len(seen) == 2)
    assert trainer.steps == 2 and len(seen) == 2


def test_trainer_computes_the_gradient_inside_a_given_context_and_takes_the_step_outside() -> None:
    """The context, given as `around`, adds 1 to all parameters at its beginning and subtracts 1 at its end."""

    @contextlib.contextmanager
    def shifted() -> Iterator[None]:
        trainer.model.arena += 1
        yield
        trainer.model.arena -= 1

    trainer, batches = small(around=shifted)
    batch, twin = next(batches.epoch()), small()[0]
    twin.model.arena += 1
    twin.step(batch)
    trainer.step(batch)
    np.testing.assert_allclose(trainer.model.arena, twin.model.arena - 1, rtol=1e-12)


def test_trainer_refuses_an_optimizer_whose_parameters_have_no_names() -> None:
    model = nn.Sequential(nn.Linear(2, 1), rng=0)
    with pytest.raises(ValueError, match=r"Trainer: optimizer must be made from the dict model\.params"):
        nn.Trainer(model, nn.MeanSquaredError(), fs.SGD(list(model.params.values())))


@pytest.mark.parametrize("loss", [nn.SoftmaxNLL, "nll"])
def test_trainer_refuses_an_object_that_is_not_a_loss(loss: Any) -> None:
    """Instances of `nn.SoftmaxNLL` are losses, but the class is not."""
    model = nn.Sequential(nn.Linear(2, 1), rng=0)
    with pytest.raises(TypeError, match=r"Trainer: loss must be a Loss, such as nn.SoftmaxNLL\(\); got .*(NLL|nll)"):
        nn.Trainer(model, loss, fs.SGD(model.params))


def line(optimizer: Any = fs.SGD, **options: Any) -> tuple[nn.Trainer, nn.Batches]:
    """Return a trainer that fits y = 3 x, and its batches."""
    x = np.linspace(-1, 1, 20)[:, None]
    model = nn.Sequential(nn.Linear(1, 1), dtype=np.float64, rng=0)
    trainer = nn.Trainer(model, nn.MeanSquaredError(), optimizer(model.params, **options))
    return trainer, nn.Batches(x, 3 * x, size=6)


def test_fit_equals_a_loop_of_epochs_with_the_same_row_orders_and_batches() -> None:
    """The argument `change` is a function that keeps two of the four batches of an epoch."""
    (fitting, batches), (stepping, same) = (line(lr=0.1, momentum=0.5) for _ in range(2))
    orders, change = [np.random.default_rng(i).permutation(20) for i in range(3)], lambda found: list(found)[:2]
    turn = iter(orders)
    losses = list(fitting.fit(batches, 3, order=lambda: next(turn), change=change))
    assert losses == [stepping.epoch(change(same.epoch(order))) for order in orders]
    assert fitting.steps == 6
    np.testing.assert_array_equal(fitting.model.arena, stepping.model.arena)


def test_fit_validates_with_averaged_parameters_and_gives_the_validation_loss_to_the_schedule() -> None:
    """The validation loss never improves, so `ReduceOnPlateau` must lower the rate, with and without a warm-up."""
    plateau = schedules.ReduceOnPlateau(0.1, patience=0)
    for schedule in (plateau, schedules.warmup(plateau, 2)):
        trainer, batches = line(lr=schedule, ema_decay=0.9)
        heard: list[float] = []

        def validate(loss: float) -> float:
            heard.append(loss)  # noqa: B023 (called in the same iteration)
            for name, average in trainer.optimizer.ema.items():  # noqa: B023
                assert np.shares_memory(trainer.model.params[name], average)  # noqa: B023
            return 1.0  # no improvement

        rate = plateau(1)
        losses = trainer.fit(batches, 4, validate=validate)
        assert list(losses) == heard and len(heard) == 4
        assert plateau(1) < rate


@pytest.mark.parametrize("epochs", [1, 5])
def test_fit_ends_at_a_loss_that_is_not_finite_or_when_stop_returns_true(epochs: int) -> None:
    """The first training diverges in its first epoch. The second training has a `stop` that returns True at step 6.

    An epoch has 4 steps, so step 6 is in the middle of epoch 2. If `epochs` is 1, the second training ends at step 4.
    Incomplete epochs are not validated.
    """

    def validate(loss: float) -> float:
        validated.append(loss)
        return loss

    validated: list[float] = []
    trainer, batches = line(lr=1e200)
    losses = list(trainer.fit(batches, epochs, validate=validate))
    assert not np.isfinite(losses[-1]) and len(losses) == 1
    assert trainer.steps < 4
    assert not validated, "an epoch with a loss that is not finite must not be validated"
    trainer, batches = line(lr=0.1)
    losses = list(trainer.fit(batches, epochs, stop=lambda loss: trainer.steps == 6, validate=validate))
    assert (len(losses), trainer.steps, validated) == ((2, 6, losses[:1]) if epochs > 1 else (1, 4, losses))
