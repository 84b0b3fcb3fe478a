"""Tests of `step_in_backward`, which steps during the backward pass, and of `OffloadedOptimizer`.

An offloaded optimizer runs on the CPU. The model may be on another device.
"""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest

from support.torch_cases import SHARED, backward, batches, every_optimizer, network, ours, theirs, train


@every_optimizer
def test_step_in_backward_gives_the_same_bits_as_steps_after_the_backward_pass(name: str, torch: Any) -> None:
    """After `remove`, the backward pass no longer updates the parameters. Then only `opt.step` updates them."""
    from fusedstep.torch import step_in_backward

    model = network()
    other = copy.deepcopy(model)
    opt, reference = (ours(name)(m.parameters(), ema_decay=0.9) for m in (model, other))
    steps = step_in_backward(opt)
    schedules = [torch.optim.lr_scheduler.ExponentialLR(o, 0.9) for o in (opt, reference)]
    for batch in batches(5):
        reference.zero_grad()
        assert torch.equal(backward(model, batch), backward(other, batch))
        assert all(p.grad is None for p in model.parameters())
        opt.step(), reference.step()  # opt.step finds no gradients, but the schedule expects the call
        for schedule in schedules:
            schedule.step()
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))
    steps.remove()
    before = model[0].weight.detach().clone()
    backward(model, batches(1)[0])
    assert torch.equal(model[0].weight, before) and model[0].weight.grad is not None
    opt.step()
    assert not torch.equal(model[0].weight, before)


def test_step_in_backward_frees_every_gradient_during_the_pass(torch: Any) -> None:
    """Hooks count the gradients of eight layers. With `step_in_backward`, there is at most one gradient at a time."""
    from fusedstep.torch import step_in_backward

    def most(in_backward: bool) -> int:
        """Return the largest number of gradients that exist at the same time."""
        torch.manual_seed(0)
        model = torch.nn.Sequential(*(torch.nn.Linear(20, 20, bias=False) for _ in range(8)))
        opt, seen = ours("SGD")(model.parameters(), lr=0.1), []
        if in_backward:
            step_in_backward(opt)
        for p in model.parameters():
            p.register_post_accumulate_grad_hook(
                lambda _: seen.append(sum(q.grad is not None for q in model.parameters()))
            )
        model(torch.ones(2, 20)).sum().backward()
        return max(seen)

    assert most(False) == 8 and most(True) <= 1


def test_step_in_backward_updates_a_weight_once_if_the_model_uses_it_twice(torch: Any) -> None:
    """The gradient of the weight is the sum of two gradients, 1 + 2."""
    from fusedstep.torch import step_in_backward

    w = torch.ones(3, requires_grad=True)
    step_in_backward(ours("SGD")([w], lr=0.5))
    (w.sum() + 2 * (w * 1).sum()).backward()
    assert (w == 1 - 0.5 * 3).all()


def test_step_in_backward_refuses_clip_norm_and_torchs_optimizers(torch: Any) -> None:
    from fusedstep.torch import step_in_backward

    w = torch.ones(3, requires_grad=True)
    with pytest.raises(ValueError, match=r"step_in_backward: clip_norm of optimizer must be None; got 1\.0"):
        step_in_backward(ours("SGD")([w], clip_norm=1.0))
    with pytest.raises(TypeError, match=r"must be an optimizer of fusedstep\.torch; got torch\.optim\.sgd\.SGD"):
        step_in_backward(theirs("SGD")([w]))


# OffloadedOptimizer


@pytest.mark.parametrize("side", [ours, theirs])
@every_optimizer
def test_offloading_float32_models_on_the_cpu_does_not_change_the_losses(name: str, side: Any, torch: Any) -> None:
    """The losses are equal to those of the optimizer without offloading. Each offloaded step removes the gradients.

    `side` is `ours` for optimizers of fusedstep, and `theirs` for torch's.
    """
    from fusedstep.torch import OffloadedOptimizer

    if name not in SHARED and side is theirs:  # torch has no optimizer with this name
        side = ours
    model = network()
    other = copy.deepcopy(model)
    opt, reference = OffloadedOptimizer(side(name), model, lr=0.01), side(name)(other.parameters(), lr=0.01)
    assert isinstance(opt, side(name)) and isinstance(opt, OffloadedOptimizer)
    schedules = [torch.optim.lr_scheduler.ExponentialLR(o, 0.9) for o in (opt, reference)]
    for o, m, schedule in zip((opt, reference), (model, other), schedules, strict=True):
        o.losses = train(m, o, batches(5), schedule.step)
    assert opt.losses == reference.losses
    assert all(p.grad is None for p in model.parameters())


def test_master_weights_keep_updates_that_bfloat16_weights_would_lose(torch: Any) -> None:
    """The offloaded optimizer has float32 master weights, so small updates add up.

    Each update is 1e-4. The distance between bfloat16 numbers just below 1 is 2^-8 = 0.0039.
    """
    from fusedstep.torch import OffloadedOptimizer

    models = [torch.nn.Linear(50, 1, bias=False, dtype=torch.bfloat16) for _ in range(2)]
    for m in models:
        torch.nn.init.ones_(m.weight)
    opts = [OffloadedOptimizer(ours("SGD"), models[0], lr=1e-4), ours("SGD")(models[1].parameters(), lr=1e-4)]
    for _ in range(100):
        for m, opt in zip(models, opts, strict=True):
            opt.zero_grad()
            m(torch.ones(50, dtype=torch.bfloat16)).sum().backward()
            opt.step()
    assert (models[1].weight == 1).all()
    torch.testing.assert_close(models[0].weight, torch.full_like(models[0].weight, 0.99))


def test_offloaded_optimizer_adds_the_gradients_of_several_backward_passes(torch: Any) -> None:
    """After `zero_grad`, a step has no gradient and changes nothing."""
    from fusedstep.torch import OffloadedOptimizer

    w = torch.nn.Parameter(torch.ones(3))
    opt = OffloadedOptimizer(ours("SGD"), [w], lr=0.125)
    for k in range(3):
        (w * (k + 1)).sum().backward()
    opt.step()
    assert w.grad is None, "a step must remove the gradients"
    assert (w == 1 - 0.125 * 6).all()
    w.sum().backward()
    opt.zero_grad()
    opt.step()
    assert (w == 0.25).all()


def test_training_resumes_from_checkpoints_of_offloaded_optimizers(torch: Any) -> None:
    """The losses and the optimizer's parameters are equal to those of a training without an interruption."""
    from fusedstep.torch import OffloadedOptimizer

    model = network(torch.bfloat16)
    opt = OffloadedOptimizer(ours("AdamW"), model, lr=0.01)
    data = batches(8, torch.bfloat16)
    train(model, opt, data[:4])
    saved = copy.deepcopy((model.state_dict(), opt.state_dict()))
    want = train(model, opt, data[4:])
    other = network(torch.bfloat16, seed=5)
    other_opt = OffloadedOptimizer(ours("AdamW"), other, lr=0.5)
    other.load_state_dict(saved[0]), other_opt.load_state_dict(saved[1])
    assert train(other, other_opt, data[4:]) == want
    assert all(torch.equal(a, b) for a, b in zip(*(o.param_groups[0]["params"] for o in (opt, other_opt)), strict=True))


def test_an_offloaded_optimizer_cannot_be_copied_and_is_freed_with_its_last_reference(torch: Any) -> None:
    """At the end, the test gives a model as `optimizer_class`, which is refused."""
    from fusedstep.torch import OffloadedOptimizer

    model = network()
    opt = OffloadedOptimizer(ours("Adam"), model)
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled without its model"):
            duplicate(opt)
    train(model, opt, batches(1))
    reference = weakref.ref(opt)
    del opt
    gc.collect()
    assert reference() is None
    backward(model, batches(1)[0])
    assert model[0].weight.grad is not None, "the hooks of a freed optimizer must not run"
    with pytest.raises(TypeError, match="optimizer_class must be a class of optimizers"):
        OffloadedOptimizer(model, model)
