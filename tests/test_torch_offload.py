"""Tests of `OffloadedOptimizer` with models in the CPU's memory.

For each parameter, the optimizer steps a tensor that is called the parameter's host: a copy of the parameter, or the
parameter itself. Many tests run with an optimizer class of fusedstep (`ours`) and with one of torch (`theirs`).
"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from support.torch_cases import every_optimizer, ours, theirs

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

HALVES = ("bfloat16", "float16")


def network(dtype: str) -> Any:
    torch.manual_seed(0)
    layers = torch.nn.Linear(6, 7), torch.nn.ReLU(), torch.nn.Linear(7, 3)
    return torch.nn.Sequential(*layers).to(getattr(torch, dtype))


def offloaded(name: str, model: Any, **options: Any) -> Any:
    from fusedstep.torch import OffloadedOptimizer

    return OffloadedOptimizer(ours(name), model, lr=0.01, **options)


def backward(model: Any, seed: int) -> None:
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(seed)).to(model[0].weight.dtype)
    model(x).square().sum().backward()


@pytest.mark.parametrize("half", HALVES)
@every_optimizer
def test_states_and_master_weights_equal_those_of_an_optimizer_of_float32_copies(name: str, half: str) -> None:
    """Master weights of a 16-bit model are float32. For float16, the state "master" contains them.

    For bfloat16, the parameter is the rounded master weight, and the state "low" has the remaining 16 bits.
    If a master weight lies in the middle between two bfloat16 numbers, fusedstep and torch may round it differently.
    """
    model = network(half)
    optimizer = offloaded(name, model)
    masters = [torch.nn.Parameter(p.detach().float()) for p in model.parameters()]
    reference = ours(name)(masters, lr=0.01)
    for k in range(4):
        backward(model, k)
        for m, p in zip(masters, model.parameters(), strict=True):
            m.grad = p.grad.float()
        reference.step()
        optimizer.step()
        for m, p in zip(masters, model.parameters(), strict=True):
            assert torch.equal(p.float(), m.to(p.dtype).float()) or half == "bfloat16"
            assert (p.float() - m).abs().max() <= 2**-8 * m.abs().max()
    for m, p in zip(masters, model.parameters(), strict=True):
        entry = optimizer.state[p]
        for state, value in reference.state[m].items():
            assert torch.equal(entry[state], value), state
        if half == "float16":
            assert torch.equal(entry["master"], m)
        else:
            assert torch.equal((p.detach().view(torch.int16).int() << 16) + entry["low"].int(), m.view(torch.int32))


def test_gradients_of_several_backward_passes_are_added_in_float32() -> None:
    w = torch.nn.Parameter(torch.zeros(300, dtype=torch.bfloat16))
    optimizer = offloaded("SGD", [w])
    total = torch.zeros(300)
    for k in range(20):
        g = torch.randn(300, generator=torch.Generator().manual_seed(k)).bfloat16()
        w.backward(g)
        total += g.float()
    optimizer.step()
    assert torch.equal(
        optimizer.state[w]["low"].int() + (w.detach().view(torch.int16).int() << 16), (-0.01 * total).view(torch.int32)
    )
    w.backward(g)
    assert w.grad.dtype == torch.bfloat16, "the first gradient after a step must stay bfloat16"


def test_sum_of_gradients_starts_again_after_the_gradient_was_set_to_none() -> None:
    w = torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))
    optimizer = offloaded("SGD", [w])
    for _ in range(2):
        w.backward(torch.ones_like(w))
    w.grad = None
    w.backward(torch.ones_like(w))
    assert (w.grad == 1).all()
    optimizer.step()
    assert torch.equal(w, torch.full_like(w, -0.01))


@pytest.mark.parametrize("side", [ours, theirs])
def test_step_uses_the_gradients_that_clip_grad_norm_has_clipped(side: Any) -> None:
    from fusedstep.torch import OffloadedOptimizer

    model = network("bfloat16")
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = OffloadedOptimizer(side("SGD"), model, lr=1.0)
    backward(model, 1)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    assert norm > 1
    optimizer.step()
    moved = sum(
        float((p.detach().float() - b.float()).square().sum()) for p, b in zip(model.parameters(), before, strict=True)
    )
    assert moved < (2e-3) ** 2


def test_states_of_a_16_bit_model_stay_at_their_addresses_and_its_parameters_are_not_copied() -> None:
    """The optimizer steps the model's own parameters, not copies of them."""
    model = network("bfloat16")
    optimizer = offloaded("AdamW", model, state_dtype="uint8")
    addresses = []
    for k in range(3):
        backward(model, k)
        optimizer.step()
        entries = [optimizer.state[p] for p in model.parameters()]
        addresses.append([t.data_ptr() for entry in entries for t in entry.values()])
    assert addresses[0] == addresses[1] == addresses[2]
    assert all(h is p for h, p in zip(optimizer.param_groups[0]["params"], model.parameters(), strict=True))


@pytest.mark.parametrize("side", [ours, theirs])
@pytest.mark.parametrize("dtype", ["float32", *HALVES])
def test_a_state_that_was_saved_before_the_first_step_can_be_loaded(dtype: str, side: Any) -> None:
    """After the load, both optimizers take the same step."""
    from fusedstep.torch import OffloadedOptimizer

    model = network(dtype)
    optimizer = OffloadedOptimizer(side("AdamW"), model, lr=0.01)
    other = copy.deepcopy(model)
    fresh = OffloadedOptimizer(side("AdamW"), other, lr=0.01)
    fresh.load_state_dict(optimizer.state_dict())
    for m, o in ((model, optimizer), (other, fresh)):
        backward(m, 3)
        o.step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))


def test_float32_master_weights_of_older_checkpoints_can_be_loaded() -> None:
    """In older checkpoints, the state "master" is the float32 master weight.

    Now the bfloat16 parameter is the rounded master weight, and the state "low" has the remaining 16 bits.
    """
    model = network("bfloat16")
    masters = [torch.nn.Parameter(p.detach().float() * 1.001) for p in model.parameters()]
    reference = ours("AdamW")(masters, lr=0.01)
    for m in masters:
        m.grad = torch.ones_like(m)
    reference.step()
    saved = copy.deepcopy(reference.state_dict())
    for k, m in enumerate(masters):
        saved["state"][k]["master"] = m.detach().clone()
    optimizer = offloaded("AdamW", model)
    optimizer.load_state_dict(saved)
    backward(model, 1)
    for m, p in zip(masters, model.parameters(), strict=True):
        m.grad = p.grad.float()
    reference.step()
    optimizer.step()
    for m, p in zip(masters, model.parameters(), strict=True):
        low = optimizer.state[p]["low"]
        assert torch.equal((p.detach().view(torch.int16).int() << 16) + low.int(), m.view(torch.int32))


@pytest.mark.parametrize("half", HALVES)
def test_torchs_optimizer_updates_a_16_bit_model_through_float32_copies(half: str) -> None:
    """After each step, the model equals the float32 copies, rounded to 16 bits."""
    from fusedstep.torch import OffloadedOptimizer

    model = network(half)
    optimizer = OffloadedOptimizer(torch.optim.AdamW, model, lr=0.01)
    masters = [torch.nn.Parameter(p.detach().float()) for p in model.parameters()]
    reference = torch.optim.AdamW(masters, lr=0.01)
    for k in range(3):
        backward(model, k)
        for m, p in zip(masters, model.parameters(), strict=True):
            m.grad = p.grad.float()
        reference.step()
        optimizer.step()
        for m, p in zip(masters, model.parameters(), strict=True):
            assert torch.equal(p, m.to(p.dtype))


@pytest.mark.parametrize("side", [ours, theirs])
def test_a_gradient_is_used_in_one_step_only(side: Any) -> None:
    from fusedstep.torch import OffloadedOptimizer

    p, q = (torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16)) for _ in range(2))
    optimizer = OffloadedOptimizer(side("SGD"), [p, q], lr=1.0)
    (p.sum() + q.sum()).backward()
    optimizer.step()
    p.sum().backward()
    optimizer.step()
    optimizer.step()
    assert (p == -2).all() and (q == -1).all()


@pytest.mark.parametrize("side", [ours, theirs])
def test_step_uses_the_sum_of_the_gradients_of_several_backward_passes(side: Any) -> None:
    from fusedstep.torch import OffloadedOptimizer

    p = torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))
    optimizer = OffloadedOptimizer(side("SGD"), [p], lr=1.0)
    for _ in range(3):
        p.sum().backward()
    optimizer.step()
    assert (p == -3).all()


@pytest.mark.parametrize("side", [ours, theirs])
def test_float64_models_are_stepped(side: Any) -> None:
    from fusedstep.torch import OffloadedOptimizer

    p = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = OffloadedOptimizer(side("SGD"), [p], lr=1.0)
    p.sum().backward()
    optimizer.step()
    assert (p == -1).all()


def by_copies(side: Any, model: Any, **options: Any) -> Any:
    """Return an optimizer of the class `side` that steps float64 copies (the hosts) of the model's parameters."""
    from fusedstep.torch import OffloadedOptimizer

    return OffloadedOptimizer(side, model, lr=0.1, master_dtype=torch.float64, **options)


@pytest.mark.parametrize(("name", "method"), [("SGD", "averaged"), ("NAG", "lookahead")])
def test_averaged_and_lookahead_change_the_model_and_restore_it(name: str, method: str) -> None:
    """`hosts` are float64 copies of the parameters. `averaged()` and `lookahead()` change the hosts and the model."""
    model = network("float32")
    options = {"ema_decay": 0.5} if method == "averaged" else {"momentum": 0.9}
    optimizer = by_copies(ours(name), model, **options)
    for k in range(2):
        backward(model, k)
        optimizer.step()
    hosts = optimizer.param_groups[0]["params"]
    before = [p.detach().clone() for p in model.parameters()]
    with getattr(optimizer, method)():
        for h, p, b in zip(hosts, model.parameters(), before, strict=True):
            assert torch.equal(p, h.float()) and not torch.equal(p, b)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("side", [ours, theirs])
def test_step_hooks_run_once_before_and_once_after_the_step(side: Any) -> None:
    """Before a step, parameters in `param_groups` have gradients. After it, they have none, and the model is changed.

    The hook "any" is registered for all optimizers. It also runs before the step.
    """
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    from fusedstep.torch import OffloadedOptimizer

    model = network("bfloat16")
    # If `side` is `theirs`, this line makes torch wrap `torch.optim.SGD.step`. The wrapper also calls hooks.
    side("SGD")([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    optimizer = OffloadedOptimizer(side("SGD"), model, lr=1.0)
    seen = []

    def look(when: str) -> Any:
        return lambda o, args, options: seen.append(
            (when, o.param_groups[0]["params"][0].grad is not None, float(model[0].weight.detach().sum()))
        )

    handles = [optimizer.register_step_pre_hook(look("before")), optimizer.register_step_post_hook(look("after"))]
    handles.append(register_optimizer_step_pre_hook(look("any")))
    start = float(model[0].weight.detach().sum())
    backward(model, 1)
    optimizer.step()
    for handle in handles:
        handle.remove()
    assert seen == [
        ("any", True, start),
        ("before", True, start),
        ("after", False, float(model[0].weight.detach().sum())),
    ]
    assert seen[2][2] != start


@pytest.mark.parametrize(  # ("float16", True) is missing, because `GradScaler.unscale_` refuses float16 gradients
    ("dtype", "unscaled"),
    [("float32", False), ("bfloat16", False), ("float16", False), ("float32", True), ("bfloat16", True)],
)
@pytest.mark.parametrize("side", [ours, theirs])
def test_a_scaled_loss_gives_the_step_of_the_unscaled_loss(dtype: str, side: Any, unscaled: bool) -> None:
    """If `unscaled` is True, the test calls `GradScaler.unscale_` before the step.

    At the end, a gradient contains inf. Then no step is taken, and the scaler halves its scale.
    """
    from fusedstep.torch import OffloadedOptimizer

    model, plain = network(dtype), network(dtype)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    optimizers = [OffloadedOptimizer(side("SGD"), m, lr=0.5) for m in (model, plain)]
    scaler.scale(torch.ones(()))
    backward(model, 1)
    for p in model.parameters():
        p.grad.mul_(4)
    if unscaled:
        scaler.unscale_(optimizers[0])
    scaler.step(optimizers[0])
    scaler.update()
    backward(plain, 1)
    optimizers[1].step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), plain.parameters(), strict=True))
    backward(model, 2)
    next(model.parameters()).grad.view(-1)[0] = float("inf")
    scaler.step(optimizers[0])
    scaler.update()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), plain.parameters(), strict=True))
    assert scaler.get_scale() == 2.0


def hooks_of(p: Any) -> int:
    return len(p._backward_hooks or ())


def test_parameters_of_a_refused_group_get_no_hook_and_are_not_stepped() -> None:
    p, q, r = (torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16)) for _ in range(3))
    optimizer = offloaded("AdamW", [p])
    with pytest.raises(ValueError, match="betas"):
        optimizer.add_param_group({"params": [q], "betas": (2.0, 0.9)})
    assert (hooks_of(p), hooks_of(q)) == (1, 0)
    with pytest.raises(ValueError, match="betas"):
        offloaded("AdamW", [{"params": [q]}, {"params": [r], "betas": (2.0, 0.9)}])
    assert (hooks_of(q), hooks_of(r)) == (0, 0)
    p.sum().backward()
    q.sum().backward()
    optimizer.step()
    assert (q == 0).all() and (p != 0).all()
    assert len(optimizer.param_groups) == 1 and len(optimizer.state_dict()["state"]) == 1


@pytest.mark.parametrize("side", [ours, theirs])
def test_a_frozen_parameter_is_stepped_after_it_was_unfrozen(side: Any) -> None:
    """Frozen means: `requires_grad` is False. The three gradients after the unfreezing are added in float32."""
    from fusedstep.torch import OffloadedOptimizer

    p, frozen = (torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16)) for _ in range(2))
    frozen.requires_grad_(False)
    optimizer = OffloadedOptimizer(side("SGD"), [p, frozen], lr=1.0)
    assert not frozen.requires_grad
    p.sum().backward()
    optimizer.step()
    assert (frozen == 0).all()
    frozen.requires_grad_(True)
    frozen.backward(torch.full_like(frozen, 256.0))
    for _ in range(2):  # in bfloat16, 256 + 1 is rounded to 256
        frozen.backward(torch.ones_like(frozen))
    optimizer.step()
    assert (frozen == -258).all()


@pytest.mark.parametrize("side", [ours, theirs])
def test_step_after_the_model_was_overwritten_starts_from_the_new_values(side: Any) -> None:
    for dtype in ("float32", "bfloat16"):
        model = network(dtype)
        made = by_copies(side("SGD"), model) if dtype == "float32" else offloaded("SGD", model)
        backward(model, 1)
        made.step()
        with torch.no_grad():
            for p in model.parameters():
                p.fill_(2.0)
                p.grad = torch.zeros_like(p)
        made.step()
        assert all((p == 2).all() for p in model.parameters())


def test_step_in_backward_gives_a_model_the_same_values_as_steps_after_the_backward_pass() -> None:
    """Each optimizer updates float64 copies of its model's parameters, and writes the new values into the model."""
    from fusedstep.torch import step_in_backward

    model, plain = network("float32"), network("float32")
    optimizer, after = by_copies(ours("AdamW"), model), by_copies(ours("AdamW"), plain)
    step_in_backward(optimizer)
    for k in range(2):
        backward(model, k)
        backward(plain, k)
        after.step()
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), plain.parameters(), strict=True))


def complex_parameter() -> Any:
    return torch.nn.Parameter(torch.zeros(3, dtype=torch.complex64))


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a number": (lambda: [3], {}, "optimizer can only optimize Tensors, but one of the params is int"),
    "a set": (lambda: [{"params": set()}], {}, "need to be organized in ordered collections"),
    "complex": (lambda: [complex_parameter()], {}, "parameters must be of a floating dtype; got torch.complex64"),
    "dtype as text": (lambda: [], {"master_dtype": "float32"}, "master_dtype must be a floating .* got 'float32'"),
    "integer dtype": (lambda: [], {"master_dtype": torch.int32}, "master_dtype must be a floating .* got torch.int32"),
}


@pytest.mark.parametrize("side", [ours, theirs])
@pytest.mark.parametrize("case", REFUSED)
def test_unsuitable_parameters_and_master_dtypes_are_refused(case: str, side: Any) -> None:
    from fusedstep.torch import OffloadedOptimizer

    params, options, message = REFUSED[case]
    with pytest.raises(TypeError, match=message):
        OffloadedOptimizer(side("SGD"), params(), lr=0.1, **options)


@pytest.mark.parametrize("loaded", [3, "x", None])
def test_a_loaded_master_weight_must_be_a_tensor_or_none(loaded: Any) -> None:
    model = network("bfloat16")
    optimizer = by_copies(theirs("SGD"), model)
    saved = optimizer.state_dict()
    saved["state"][1] = {"master": loaded}
    if loaded is None:
        optimizer.load_state_dict(saved)  # None is valid: the master weight gets the model's value
        return
    message = r"OffloadedSGD.load_state_dict: state\[1\]\['master'\] must be a tensor of shape \(7,\)"
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(saved)
