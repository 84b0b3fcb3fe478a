"""Schedule-free optimizers: the parameters y, the average x, and the statistics of batch norm with the weights x.

A step updates the state z with the gradient at y. x is the mean of z over the steps, and y = share x + (1 - share) z.
The factor `share` is the momentum of SGDScheduleFree, or the first beta of AdamWScheduleFree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import nn
from support.bits import Array

OPTIONS: list[tuple[Any, dict[str, Any], float]] = [
    (fs.SGDScheduleFree, {"lr": 0.1, "momentum": 0.8}, 0.8),
    (fs.AdamWScheduleFree, {"lr": 0.1, "betas": (0.7, 0.9), "weight_decay": 0.1}, 0.7),
]
every_rule = pytest.mark.parametrize(("cls", "options", "share"), OPTIONS)


def run(cls: Any, options: dict[str, Any], steps: int, rng: np.random.Generator) -> tuple[Any, Array, Array]:
    """Minimise sum(y**2). Return the optimizer, its parameters y, and the mean x of its state z over the steps."""
    y = rng.standard_normal(50)
    opt = cls([y], **options)
    x = np.zeros(50)
    for t in range(1, steps + 1):
        opt.step([2 * y])
        x += (opt.state[0]["z"] - x) / t
    return opt, y, x


@every_rule
def test_averaged_replaces_schedule_free_parameters_by_the_mean_of_z(
    cls: Any, options: dict[str, Any], share: float, rng: np.random.Generator
) -> None:
    """Inside `averaged`, the parameters y are replaced by x, the mean of the state z over the steps.

    At the end of the `with` block, the parameters have their old bits again.
    """
    opt, y, x = run(cls, options, 20, rng)
    kept, z = y.copy(), opt.state[0]["z"].copy()
    with opt.averaged():
        np.testing.assert_allclose(y, x, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(kept, share * y + (1 - share) * z, rtol=1e-12, atol=1e-14)
    assert y.tobytes() == kept.tobytes() and (x != y).all()


@every_rule
def test_schedule_free_averages_before_the_first_step_are_the_parameters(
    cls: Any, options: dict[str, Any], share: float
) -> None:
    """`has_averages` is True before the first step too. It is False for SGD without `ema_decay`."""
    opt = cls([y := np.ones(3)], **options)
    assert opt.has_averages and not fs.SGD([np.ones(3)]).has_averages
    with opt.averaged():
        assert (y == 1).all()


@every_rule
def test_averaged_gives_the_ema_if_a_schedule_free_optimizer_has_ema_decay(
    cls: Any, options: dict[str, Any], share: float
) -> None:
    """The option `ema_decay` adds an exponential moving average (EMA) of the parameters.

    Inside the context `averaged()`, the parameters have the values of the EMA.
    """
    opt = cls([y := np.ones(3)], ema_decay=0.5, **options)
    opt.step([np.ones(3)])
    ema = opt.ema[0].copy()
    with opt.averaged():
        assert y.tobytes() == ema.tobytes()


@every_rule
@pytest.mark.torch
def test_schedule_free_averages_of_tensors_agree_with_those_of_arrays(
    cls: Any, options: dict[str, Any], share: float, torch: Any, rng: np.random.Generator
) -> None:
    """One parameter gets no gradient. A step inside `averaged` is refused."""
    import fusedstep.torch

    y, idle = rng.standard_normal(50).astype(np.float32), np.ones(3, np.float32)
    tensors = [torch.tensor(a, requires_grad=True) for a in (y, idle)]
    arrays_opt, opt = cls([y, idle], **options), getattr(fusedstep.torch, cls.__name__)(tensors, **options)
    for _ in range(5):
        g = rng.standard_normal(50).astype(np.float32)
        arrays_opt.step([g, None])
        tensors[0].grad = torch.tensor(g)
        opt.step()
    with arrays_opt.averaged(), opt.averaged():
        np.testing.assert_allclose(tensors[0].detach().numpy(), y, rtol=1e-6)
        assert (tensors[1] == 1).all()
        with pytest.raises(RuntimeError, match=r"step: cannot be called inside averaged\(\)"):
            opt.step()


def model_of_batch_norm() -> tuple[nn.Sequential, Array]:
    """Return a network with a batch norm layer, and an input of 12 rows."""
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm(momentum=0.3), nn.Tanh(), nn.Linear(4, 1), rng=0)
    return model, np.random.default_rng(1).standard_normal((12, 3)).astype(np.float32)


def test_measure_batch_norm_uses_the_averaged_weights_inside_averaged() -> None:
    """The running mean is the mean of the two batches' means. The running variance is the mean of their variances.

    The layer's `momentum` does not change.
    """
    model, x = model_of_batch_norm()
    opt = fs.SGDScheduleFree(model.params, lr=0.5)
    for _ in range(5):
        opt.step({name: np.ones_like(p) for name, p in model.params.items()})
    with opt.averaged():
        nn.measure_batch_norm(model, [x[:6], x[6:]])
        hidden = [part @ model.params["0.weight"] for part in (x[:6], x[6:])]
    np.testing.assert_allclose(model.buffers["1.running_mean"], np.mean([h.mean(0) for h in hidden], 0), rtol=1e-5)
    variances = [h.var(0, ddof=1) for h in hidden]
    np.testing.assert_allclose(model.buffers["1.running_var"], np.mean(variances, 0), rtol=1e-5)
    assert model.layers[1].momentum == 0.3


@pytest.mark.parametrize("batches", [[], [np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)]], ids=len)
def test_measure_batch_norm_with_wrong_batches_changes_no_statistics(batches: list[Array]) -> None:
    """Either `batches` is empty, or the second batch has a wrong shape. The layer's `momentum` also does not change."""
    model, x = model_of_batch_norm()
    model.forward(x, training=True)
    before = {name: a.tobytes() for name, a in model.buffers.items()}
    with pytest.raises(ValueError):
        nn.measure_batch_norm(model, batches)
    assert {name: a.tobytes() for name, a in model.buffers.items()} == before
    assert model.layers[1].momentum == 0.3
