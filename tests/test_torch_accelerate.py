"""`accelerate` replaces torch's classes if fusedstep's classes give the same results in less time."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from support.torch_cases import batches, every_shared_optimizer, network, theirs, train


@pytest.fixture
def ft(torch: Any) -> Any:
    import fusedstep.torch

    return fusedstep.torch


@pytest.fixture
def clock(torch: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace the measurement of times by times that a test can set.

    `clock["say"]` has the time of fusedstep's class and the time of torch's class, in seconds.
    """
    from fusedstep.torch import _trial

    times = {"say": [1e-6, 2e-6]}

    def medians(*functions: Any) -> list[float]:
        for function in functions:
            function()
        return times["say"]

    monkeypatch.setattr(_trial, "medians", medians)
    return times


def model_with_layers(torch: Any) -> Any:
    torch.manual_seed(0)
    nn = torch.nn
    return nn.Sequential(nn.Linear(7, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 3))


def loss_of(batch: Any) -> Any:
    return lambda model: ((model(batch[0]) - batch[1]) ** 2).mean()


@every_shared_optimizer
def test_optimizer_whose_class_is_replaced_keeps_state_schedule_and_hooks(
    name: str, torch: Any, ft: Any, clock: Any
) -> None:
    """After the replacement, the losses agree with those of a copy that keeps torch's optimizer class."""
    model = network()
    opt = theirs(name)(model.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.ExponentialLR(opt, 0.95)
    train(model, opt, batches(4), schedule.step)
    twin, twin_opt = copy.deepcopy((model, opt))
    twin_schedule = torch.optim.lr_scheduler.ExponentialLR(twin_opt, 0.95)
    twin_schedule.load_state_dict(schedule.state_dict())
    calls: list[str] = []
    opt.register_step_post_hook(lambda *_: calls.append("step"))
    before, generator = copy.deepcopy((model.state_dict(), opt.state_dict())), torch.get_rng_state()
    grads = [p.grad.clone() for p in model.parameters()]

    report = ft.accelerate(model, opt)
    assert type(opt) is getattr(ft, name) and report.optimizer == name and not report.left
    assert str(report) == f"optimizer: {name} replaced (fusedstep: 1 us, torch: 2 us)"
    assert torch.equal(torch.get_rng_state(), generator) and not calls
    for p, g in zip(model.parameters(), grads, strict=True):
        assert torch.equal(p.grad, g)
    torch.testing.assert_close((model.state_dict(), opt.state_dict()), before, rtol=0, atol=0)

    got = train(model, opt, batches(8, seed=3), schedule.step)
    want = train(twin, twin_opt, batches(8, seed=3), twin_schedule.step)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    assert len(calls) == 8
    assert str(ft.accelerate(model, opt)) == "optimizer: not replaced, its class is already fusedstep's"


def test_schedule_warns_if_its_step_comes_before_the_first_step_of_an_accelerated_optimizer(
    torch: Any, ft: Any, clock: Any
) -> None:
    """At the end, deep copies of the model and the optimizer train like the originals."""
    model = network()
    opt = theirs("SGD")(model.parameters())
    schedule = torch.optim.lr_scheduler.ExponentialLR(opt, 0.95)
    ft.accelerate(model, opt)
    with pytest.warns(UserWarning, match=r"`lr_scheduler\.step\(\)` before"):
        schedule.step()
    train(model, opt, batches(2), schedule.step)
    copied, copied_opt = copy.deepcopy((model, opt))
    assert train(copied, copied_opt, batches(2)) == train(model, opt, batches(2))


def test_accelerate_with_a_loss_replaces_layers_and_optimizer_and_keeps_the_weights(
    torch: Any, ft: Any, clock: Any
) -> None:
    """`accelerate` computes with copies of the model, so the model gets no gradients.

    The state of the random generator is the same as before.
    """
    model = model_with_layers(torch)
    before, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    report = ft.accelerate(model, torch.optim.AdamW(model.parameters()), loss_of(batches(1)[0]))
    assert report.layers == ("1", "3") and report.optimizer == "AdamW"
    assert report.seconds == {"layers": (1e-6, 2e-6), "optimizer": (1e-6, 2e-6)}
    assert type(model[1]) is ft.BatchNorm1d and type(model[3]) is ft.Dropout
    torch.testing.assert_close(dict(model.state_dict()), dict(before), rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(p.grad is None for p in model.parameters()) and model[3].p == 0.2


def test_accelerate_keeps_torch_layers_and_optimizer_if_fusedstep_is_not_faster(
    torch: Any, ft: Any, clock: Any
) -> None:
    clock["say"] = [2e-6, 2e-6]
    model = model_with_layers(torch)
    opt = torch.optim.SGD(model.parameters())
    report = ft.accelerate(model, opt, loss_of(batches(1)[0]))
    assert (report.layers, report.optimizer) == ((), "")
    assert str(report).splitlines() == [
        "layers: not replaced, not faster (fusedstep: 2 us, torch: 2 us)",
        "optimizer: not replaced, not faster (fusedstep: 2 us, torch: 2 us)",
    ]
    assert type(model[1]) is torch.nn.BatchNorm1d and type(opt) is torch.optim.SGD


def test_accelerate_keeps_torch_layers_and_optimizer_if_the_results_of_fusedstep_differ(
    torch: Any, ft: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test makes the gradients of fusedstep's batch norm wrong by 1%.

    For the parameter w, the step of torch's fused Adam is wrong, and the step of fusedstep's Adam is right.
    """
    from fusedstep.torch import batch_norm

    gradients = batch_norm.gradients
    monkeypatch.setattr(batch_norm, "gradients", lambda *a: (*(1.01 * g for g in gradients(*a)[:3]), None))
    model = model_with_layers(torch)
    w = torch.randn(8, 6).requires_grad_()
    w.grad = torch.randn(6, 8).t()
    wrong = torch.optim.Adam([w], fused=True)  # wrong if the layouts of w and w.grad differ; see test_torch_layouts.py
    report = ft.accelerate(model, wrong, loss_of(batches(1)[0]))
    assert report.left["layers"].startswith("gradients differ by ")
    assert type(model[1]) is torch.nn.BatchNorm1d
    assert report.left["optimizer"].startswith("steps differ by ") and type(wrong) is torch.optim.Adam


def test_accelerate_does_not_replace_unsupported_optimizers(torch: Any, ft: Any, clock: Any) -> None:
    class Mine(torch.optim.SGD):  # type: ignore[misc, name-defined]
        pass

    def left(opt: Any) -> str:
        """Return the reason why `accelerate` keeps the optimizer's class."""
        kind = type(opt)
        report = ft.accelerate(torch.nn.Linear(2, 2), opt)
        assert type(opt) is kind and not report.optimizer
        return str(report.left["optimizer"])

    params = [torch.ones(3, requires_grad=True)]
    assert left(Mine(params)) == f"fusedstep.torch has no class for {Mine.__module__}.Mine"
    assert left(torch.optim.LBFGS(params)) == "fusedstep.torch has no class for torch.optim.lbfgs.LBFGS"
    assert left(ft.AdamW(params)) == "its class is already fusedstep's"
    assert "dense tensor in the CPU's memory" in left(torch.optim.SGD([torch.ones(3, device="meta").requires_grad_()]))
    assert "differentiable must be False" in left(torch.optim.SGD(params, differentiable=True))
    patched = torch.optim.SGD(params)
    patched.step = lambda: None
    assert left(patched) == "other code has replaced its method step"


def test_times_are_written_without_exponents(ft: Any) -> None:
    report = ft.acceleration.Acceleration(("1",), seconds={"layers": (1.2345e-1, 8.7654e-6)})
    assert str(report) == "layers: 1 replaced (fusedstep: 123,450 us, torch: 8.77 us)"


def test_accelerate_refuses_wrong_arguments_and_passes_on_an_error_in_the_loss_function(
    torch: Any, ft: Any, clock: Any
) -> None:
    """After an error in the loss function, the model still has torch's layers."""
    model = model_with_layers(torch)
    for arguments in ((torch.ones(3),), (model, "adam"), (model, None, 3)):
        with pytest.raises(TypeError, match=r"accelerate: \w+ must be a "):
            ft.accelerate(*arguments)

    def fails(_: Any) -> Any:
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        ft.accelerate(model, torch.optim.SGD(model.parameters()), fails)
    assert type(model[1]) is torch.nn.BatchNorm1d


def test_each_round_of_a_trial_measures_both_functions(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A false clock gives 1 second for the first call, 3 seconds for the next call, then 1 second again, and so on.

    So if each round calls both functions, all times of one function are 1, and all times of the other are 3.
    """
    from fusedstep.torch import _trial

    now = iter(np.cumsum([0, *[0.0, 1, 0, 3] * 100]).tolist())
    monkeypatch.setattr(_trial.time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(_trial, "SECONDS", -1.0)
    assert _trial.medians(int, int) in ([1.0, 3.0], [3.0, 1.0])
