"""Tests of fusedstep's layers in whole models: training, compilation, recomputed passes, data loaders, `accelerate`."""

from __future__ import annotations

import copy
import doctest
import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def ft(torch: ModuleType) -> Any:
    import fusedstep.torch

    torch.manual_seed(0)
    return fusedstep.torch


def small_model(layers: Any, torch: Any, p: float = 0.5) -> Any:
    """Return a model with every kind of layer. Dropout and batch normalisation are from the module `layers`."""
    nn = torch.nn
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        layers.BatchNorm2d(4),
        nn.ReLU(),
        layers.Dropout(p),
        nn.Flatten(),
        nn.Linear(4 * 6 * 6, 8),
        layers.BatchNorm1d(8),
        nn.Unflatten(1, (2, 2, 2, 1)),
        layers.BatchNorm3d(2),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def images(torch: Any) -> Any:
    return torch.randn(16, 1, 6, 6, generator=torch.Generator().manual_seed(2))


def run(torch: Any, model: Any, x: Any, seed: int = 3) -> list[Any]:
    """Return the model's output for the input x, followed by the gradients of a loss. `seed` is for the masks."""
    model.zero_grad()
    torch.manual_seed(seed)
    y = model(x)
    y.square().sum().backward()
    return [y.detach(), *(p.grad for p in model.parameters())]


def test_losses_of_a_model_agree_with_those_of_torchs_layers(torch: Any, ft: Any) -> None:
    theirs, ours = small_model(torch.nn, torch, p=0.0), small_model(ft, torch, p=0.0)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = images(torch)
    losses: list[list[float]] = []
    for model in (theirs, ours):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        losses.append([])
        for _ in range(50):
            optimizer.zero_grad()
            loss = (model(x) - 1).square().mean()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    assert losses[0][-1] < losses[0][0] / 2
    assert losses[1] == pytest.approx(losses[0], rel=1e-4, abs=1e-5)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    torch.testing.assert_close(theirs.eval()(x), ours.eval()(x))


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_recomputed_pass_draws_the_same_mask(torch: Any, ft: Any, reentrant: bool) -> None:
    """`checkpoint` computes the forward pass a second time, during the backward pass. The gradients do not change."""
    from torch.utils.checkpoint import checkpoint

    model, x = small_model(ft, torch), images(torch).requires_grad_()
    plain = run(torch, model, x)
    recomputed = run(torch, lambda_model(torch, model, lambda x: checkpoint(model, x, use_reentrant=reentrant)), x)
    assert all(torch.equal(a, b) for a, b in zip(plain, recomputed, strict=True))


def lambda_model(torch: Any, model: Any, forward: Any) -> Any:
    """Return a module with the parameters of `model` and the forward pass `forward`."""

    class Wrapped(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Any) -> Any:
            return forward(x)

    return Wrapped()


def test_input_of_a_layer_inside_torchs_checkpoint_is_freed_after_the_forward_pass(torch: Any, ft: Any) -> None:
    import weakref

    from torch.utils.checkpoint import checkpoint

    layer, seen = ft.BatchNorm1d(4), []

    def block(x: Any) -> Any:
        hidden = x * 2
        seen.append(weakref.ref(hidden.untyped_storage()))
        return layer(hidden)

    y = checkpoint(block, torch.randn(8, 4, requires_grad=True), use_reentrant=False)
    assert seen[0]() is None
    y.sum().backward()


@pytest.mark.filterwarnings("ignore")  # warnings of torch's compiler
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_layers_are_compiled_without_a_graph_break(torch: Any, ft: Any, backend: str) -> None:
    torch._dynamo.reset()
    model = small_model(ft, torch)
    twin = copy.deepcopy(model)
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    for x in (images(torch), images(torch)[:7]):
        first, again, eager = (run(torch, m, x) for m in (compiled, compiled, twin))
        assert torch.equal(first[0], again[0])
        for a, b in zip(first, eager, strict=True):  # equal seeds give equal masks
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(compiled.eval()(x), model(x))
    torch._dynamo.reset()


def test_operator_for_dropout_in_compiled_graphs_passes_torchs_opcheck(torch: Any, ft: Any) -> None:
    from fusedstep.torch.dropout import compiled

    x = torch.randn(3, 4, 5, 6, requires_grad=True)
    for t in (x, x.detach().to(memory_format=torch.channels_last).requires_grad_()):
        results = torch.library.opcheck(compiled, (t, torch.tensor(7), 0.5, t.stride()))
        assert set(results.values()) == {"SUCCESS"}, results


class Noisy:
    """A data set that calls a dropout layer in the process that loads the data."""

    def __init__(self, layer: Any, torch: Any) -> None:
        self.layer, self.torch = layer, torch

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> Any:
        return self.layer(self.torch.full((200, 200), float(i + 1)))


def test_workers_of_a_data_loader_draw_reproducible_masks(torch: Any, ft: Any) -> None:
    model = torch.nn.Sequential(ft.BatchNorm1d(200), ft.Dropout(0.5))
    model(torch.randn(1000, 200))  # starts threads in this process before the workers are forked
    epochs = []
    for _ in range(2):
        torch.manual_seed(4)
        loader = torch.utils.data.DataLoader(Noisy(model[1], torch), 4, num_workers=2, multiprocessing_context="fork")
        epochs.append(list(loader))
    assert all(torch.equal(a, b) for a, b in zip(*epochs, strict=True))
    for batch in epochs[0]:
        assert batch.shape == (4, 200, 200) and 0.4 < (batch == 0).double().mean() < 0.6


# accelerate


def test_accelerate_changes_classes_and_nothing_else(torch: Any, ft: Any) -> None:
    model = small_model(torch.nn, torch, p=0.0)
    twin, x = copy.deepcopy(model), images(torch)
    layers, tensors = list(model.named_modules()), {**model.state_dict(keep_vars=True)}
    report = ft.accelerate(model)
    assert report.layers == ("1", "3", "6", "8") and str(report) == "layers: 4 replaced"
    assert str(ft.accelerate(model)) == "nothing to replace"
    assert all(a is b for (_, a), (_, b) in zip(layers, model.named_modules(), strict=True))
    assert all(t is tensors[name] for name, t in model.state_dict(keep_vars=True).items())
    swapped = [type(m) for m in model.modules() if type(m).__module__.startswith("fusedstep.torch")]
    assert swapped == [ft.BatchNorm2d, ft.Dropout, ft.BatchNorm1d, ft.BatchNorm3d]
    for a, b in zip(run(torch, model, x), run(torch, twin, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert str(model) == str(twin)
    copy.deepcopy(model).load_state_dict(twin.state_dict(), strict=True)


def test_accelerate_keeps_hooks_modes_and_shared_layers(torch: Any, ft: Any) -> None:
    """At the end, the model is a single layer. Its class is also replaced."""
    shared, calls = torch.nn.BatchNorm1d(3), []
    shared.register_forward_hook(lambda *_: calls.append("forward"))
    shared.register_forward_pre_hook(lambda *_: calls.append("before"))
    model = torch.nn.ModuleDict({"a": shared, "b": shared, "c": torch.nn.Dropout(0.5).eval()})
    ft.accelerate(model)
    assert model["a"] is model["b"] is shared and type(shared) is ft.BatchNorm1d
    model["a"](torch.randn(4, 3))
    assert calls == ["before", "forward"]
    assert not model["c"].training and not shared.relu
    ft.accelerate(single := torch.nn.Dropout())
    assert type(single) is ft.Dropout


def test_accelerate_does_not_replace_unsupported_layers(torch: Any, ft: Any) -> None:
    class Mine(torch.nn.BatchNorm1d):  # type: ignore[misc, name-defined]
        pass

    patched = torch.nn.Dropout()
    patched.forward = lambda x: x
    nn = torch.nn
    left = [
        Mine(3),
        patched,
        nn.SyncBatchNorm(3),
        nn.LazyBatchNorm1d(),
        nn.BatchNorm1d(3, dtype=torch.float8_e5m2),
        nn.BatchNorm2d(3, device="meta"),
        nn.Dropout2d(),
        nn.AlphaDropout(),
        nn.InstanceNorm1d(3),
    ]
    types = [type(m) for m in left]
    ft.accelerate(nn.ModuleList(left))
    assert [type(m) for m in left] == types
    with pytest.raises(TypeError, match=r"accelerate: model must be a torch\.nn\.Module; got Tensor"):
        ft.accelerate(torch.ones(3))


def is_asked_for(address: int) -> bool:
    """Return True if huge pages are requested for the memory at this address."""
    inside = False
    for line in Path("/proc/self/smaps").read_text("utf-8").splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(found[1], 16) <= address < int(found[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return "hg" in line.split()
    return False


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="this system has no transparent huge pages"
)
def test_huge_pages_are_requested_for_large_outputs(torch: Any, ft: Any) -> None:
    x = torch.ones(12, 1_000_003, requires_grad=True)
    y = ft.Dropout(0.5)(x)
    (dx,) = torch.autograd.grad(y.sum(), x)
    normalised = ft.BatchNorm1d(1_000_003)(x)
    assert all(is_asked_for(t.data_ptr() + t.nbytes // 2) for t in (y, dx, normalised))
    assert torch.equal(y == 0, dx == 0)


@pytest.mark.thread_unsafe
@pytest.mark.parametrize("module", ["dropout", "batch_norm", "acceleration", "sync_batch_norm"])
def test_docstring_examples_run(ft: Any, module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"fusedstep.torch.{module}"), optionflags=doctest.ELLIPSIS)
    assert result.attempted and not result.failed
