"""Tests of options that torch's optimizers do not have, and of torch's options that fusedstep refuses."""

from __future__ import annotations

import copy
import doctest
import importlib
import inspect
from typing import Any

import pytest

from support.torch_cases import backward, batches, every_optimizer, every_shared_optimizer, network, ours, theirs


@every_shared_optimizer
def test_clip_norm_agrees_with_torchs_clipping(name: str, torch: Any) -> None:
    model = network()
    other = copy.deepcopy(model)
    opt, reference = ours(name)(model.parameters(), clip_norm=0.1), theirs(name)(other.parameters())
    assert opt.grad_norm is None
    for batch in batches(10):
        opt.zero_grad(), reference.zero_grad()
        loss, want = backward(model, batch), backward(other, batch)
        norm = torch.nn.utils.clip_grad_norm_(other.parameters(), 0.1)
        opt.step(), reference.step()
        assert loss.item() == pytest.approx(want.item(), abs=1e-5) and norm > 0.1
        assert opt.grad_norm == pytest.approx(norm.item(), rel=1e-4)


@every_optimizer
def test_average_is_the_exponential_moving_average_of_the_parameters(name: str, torch: Any) -> None:
    """The first average is a copy of the parameter p. After each update of p, average = 0.9 * average + 0.1 * p.

    Inside the context `averaged`, the parameters have the values of their averages, and steps are refused. When the
    context ends, it restores the parameters, even after an error.
    """
    model = network()
    opt = ours(name)(model.parameters(), ema_decay=0.9)
    want = [p.detach().double() for p in model.parameters()]
    for batch in batches(5):
        opt.zero_grad()
        backward(model, batch)
        opt.step()
        want = [0.9 * a + 0.1 * p.detach().double() for a, p in zip(want, model.parameters(), strict=True)]
    kept = [p.detach().clone() for p in model.parameters()]
    versions = [p._version for p in model.parameters()]
    with opt.averaged():
        for p, a in zip(model.parameters(), want, strict=True):
            torch.testing.assert_close(p.detach().double(), a, rtol=1e-5, atol=1e-6)
        with pytest.raises(RuntimeError, match=rf"{name}\.step: cannot be called inside averaged"):
            opt.step()
        with pytest.raises(RuntimeError, match="cannot be called inside averaged"), opt.averaged():
            pass
    assert all(torch.equal(p, k) for p, k in zip(model.parameters(), kept, strict=True))
    assert all(p._version > v for p, v in zip(model.parameters(), versions, strict=True))
    with pytest.raises(ValueError, match="on purpose"), opt.averaged():
        raise ValueError("on purpose")
    assert all(torch.equal(p, k) for p, k in zip(model.parameters(), kept, strict=True))
    if not hasattr(ours(name).kernel, "share_of_average"):  # schedule-free optimizers have their own averages
        with pytest.raises(RuntimeError, match=r"averaged: ema_decay must be given to the"), ours(name)([p]).averaged():
            pass


@every_optimizer
def test_zero_grads_sets_the_gradients_to_zero_in_place(name: str, torch: Any) -> None:
    model = network()
    opt = ours(name)(model.parameters(), zero_grads=True)
    backward(model, batches(1)[0])
    grads = [p.grad for p in model.parameters()]
    assert all(g.any() for g in grads)
    opt.step()
    assert all(p.grad is g and not g.any() for p, g in zip(model.parameters(), grads, strict=True))


def test_proximal_l1_gives_exact_zeros(torch: Any) -> None:
    w = torch.full((50,), 0.05, requires_grad=True)
    opt = ours("SGD")([w], lr=0.1, l1=1.0, decay="proximal")
    w.grad = torch.zeros(50)
    opt.step()
    assert (w == 0).all()


def test_a_group_may_have_its_own_value_of_l1(torch: Any) -> None:
    a, b = (torch.full((5,), 0.05, requires_grad=True) for _ in range(2))
    opt = ours("SGD")([{"params": [a], "l1": 0.0}, {"params": [b]}], lr=0.1, l1=1.0, decay="proximal")
    a.grad, b.grad = torch.zeros(5), torch.zeros(5)
    opt.step()
    assert (a == 0.05).all() and (b == 0).all()
    assert "l1" not in ours("SGD")([a], lr=0.1).param_groups[0], "l1 must be in groups only if it was given"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "capturable": ({"capturable": True}, r"capturable must be False \(a step on the CPU .*\); got True"),
    "differentiable": ({"differentiable": True}, r"differentiable must be False \(autograd .*\); got True"),
    "infinite rate": ({"lr": float("inf")}, r"lr must be finite; got inf"),
    "clip_norm": ({"clip_norm": -1.0}, r"clip_norm must be at least 0; got -1.0"),
    "ema_decay": ({"ema_decay": 1.5}, r"ema_decay must be from 0 to 1; got 1.5"),
    "num_threads": ({"num_threads": 0}, r"num_threads must be a whole number .*; got 0"),
    "decay": ({"decay": "cubic"}, r'decay must be "l2", "decoupled" or "proximal"; got \'cubic\''),
    "zero_grads": ({"zero_grads": 1}, r"zero_grads must be True or False; got 1"),
}


@pytest.mark.parametrize("case", REFUSED)
@every_shared_optimizer
def test_unsupported_value_of_an_option_is_refused(name: str, case: str, torch: Any) -> None:
    options, message = REFUSED[case]
    if options.keys() <= inspect.signature(ours(name)).parameters.keys():
        with pytest.raises((TypeError, ValueError), match=f"{name}: .*{message}"):
            ours(name)([torch.ones(3, requires_grad=True)], **options)


@every_shared_optimizer
def test_step_refuses_a_wrong_value_that_was_written_into_a_group(name: str, torch: Any) -> None:
    w = torch.ones(3, requires_grad=True)
    w.grad = torch.ones(3)
    opt = ours(name)([w], lr=0.1)
    for key, value in {"lr": float("nan"), "weight_decay": -1.0, "differentiable": True}.items():
        if key not in opt.param_groups[0]:
            continue
        before = opt.param_groups[0][key]
        opt.param_groups[0][key] = value
        with pytest.raises(ValueError, match=rf"{name}.*{key}.* must be "):
            opt.step()
        opt.param_groups[0][key] = before
    assert (w == 1).all()
    opt.step()
    assert (w != 1).all()


@pytest.mark.parametrize("lr", ["0.1", None, [0.1, 0.2]], ids=str)
def test_error_names_the_option_that_is_not_a_number(lr: Any, torch: Any) -> None:
    """The learning rate is not a number, then it is missing, and then one of the betas is not a number."""
    w = torch.ones(3, requires_grad=True)
    w.grad = torch.ones(3)
    opt = ours("Adam")([w], lr=0.0)
    opt.step()
    opt.param_groups[0]["lr"] = torch.tensor(lr) if isinstance(lr, list) else lr
    with pytest.raises(TypeError, match=r'Adam.step: param_groups\[0\]\["lr"\] must be a number; got '):
        opt.step()
    del opt.param_groups[0]["lr"]
    with pytest.raises(TypeError, match=r'param_groups\[0\]\["lr"\] must be a number; got a group without "lr"'):
        opt.step()
    opt.param_groups[0].update(lr=0.1, betas=(torch.tensor([0.9, 0.8]), 0.99))
    with pytest.raises(TypeError, match=r"Adam: param_groups\[0\]: betas\[0\] must be a number; got tensor"):
        opt.step()
    assert (w == 1).all()


def test_a_group_that_is_refused_is_not_added(torch: Any) -> None:
    opt = ours("Adam")([torch.ones(3, requires_grad=True)])
    with pytest.raises(ValueError, match=r"Adam: param_groups\[1\]: eps must be at least 0"):
        opt.add_param_group({"params": [torch.ones(3, requires_grad=True)], "eps": -1.0})
    assert len(opt.param_groups) == 1
    opt.step()


@every_shared_optimizer
def test_options_fused_and_foreach_are_accepted_and_stay_in_groups(name: str, torch: Any) -> None:
    for form in ({"foreach": True}, {"foreach": False}, {"fused": True}, {"fused": False}):
        if next(iter(form)) in inspect.signature(theirs(name)).parameters:
            w = torch.ones(3, requires_grad=True)
            w.grad = torch.ones(3)
            opt = ours(name)([w], **form)
            opt.step()
            assert (w != 1).all() and opt.param_groups[0].items() >= form.items()


@pytest.mark.thread_unsafe
@pytest.mark.parametrize("module", ["optimizers", "backward", "checkpoint", "offload"])
def test_docstring_examples_run(module: str, torch: Any) -> None:
    result = doctest.testmod(importlib.import_module(f"fusedstep.torch.{module}"), optionflags=doctest.ELLIPSIS)
    assert result.attempted and not result.failed


@every_optimizer
def test_every_optimizer_has_correct_docstring_examples(name: str, torch: Any) -> None:
    (test,) = doctest.DocTestFinder(recurse=False).find(ours(name), name, globs={})
    result = doctest.DocTestRunner().run(test)
    assert result.attempted and not result.failed
