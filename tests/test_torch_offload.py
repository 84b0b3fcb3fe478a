"""OffloadedOptimizer on models in the CPU's memory: the bits of float32, whatever the gradients' way."""

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
def test_steps_are_those_of_float32_masters(name: str, half: str) -> None:
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


def test_gradients_of_several_passes_are_added_in_float32() -> None:
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
    assert w.grad.dtype == torch.bfloat16, "the next pass begins anew"


def test_a_sum_begins_anew_when_the_model_drops_its_gradients() -> None:
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
def test_clipping_the_model_clips_the_step(side: Any) -> None:
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


def test_a_step_of_a_model_in_16_bits_allocates_nothing() -> None:
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
def test_a_fresh_state_loads(dtype: str, side: Any) -> None:
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


def test_float32_masters_of_older_checkpoints_load() -> None:
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
def test_an_optimizer_of_torch_steps_float32_copies(half: str) -> None:
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
def test_a_gradient_is_stepped_once(side: Any) -> None:
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
def test_several_passes_add_up_whatever_the_optimizer(side: Any) -> None:
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
