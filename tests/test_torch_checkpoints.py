"""fusedstep's optimizers load the checkpoints of torch's optimizers, and vice versa. No bit of the state changes."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.oracle import Options
from support.torch_cases import (
    SHARED,
    batches,
    every_optimizer,
    every_shared_optimizer,
    network,
    ours,
    shared_options,
    theirs,
    train,
)

every_dtype = pytest.mark.parametrize("way", ["float32", "float64", "bfloat16", "float16"])

#: Options of groups that earlier versions of torch did not have. Old checkpoints do not contain these keys.
YOUNG = ("foreach", "fused", "maximize", "capturable", "differentiable", "decoupled_weight_decay")


@pytest.fixture(autouse=True)
def one_thread(torch: Any) -> Iterator[None]:
    """Run each test with one thread of torch, because the networks are small and the machine may be busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def through_file(saved: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Save a dict to a file. Load it with `weights_only`, so that the load runs no code, and return it."""
    import torch

    torch.save(saved, folder / "checkpoint.pt")
    loaded: dict[str, Any] = torch.load(folder / "checkpoint.pt", weights_only=True)
    return loaded


def known(name: str, options: Options) -> Options:
    """Return those of the options that torch's optimizer with this name also has."""
    return {option: value for option, value in options.items() if option in inspect.signature(theirs(name)).parameters}


def resumed(cls: type, saved: dict[str, Any], **options: Any) -> tuple[Any, Any]:
    """Return a network and its optimizer of the class `cls`, both loaded from the checkpoint `saved`."""
    model = network(seed=9)
    opt = cls(model.parameters(), **options)
    model.load_state_dict(saved["model"]), opt.load_state_dict(saved["optimizer"])
    return model, opt


def snapshot(model: Any, opt: Any) -> dict[str, Any]:
    return {"model": model.state_dict(), "optimizer": opt.state_dict()}


def same_state(got: dict[str, Any], want: dict[str, Any]) -> None:
    """Assert that two state dicts of optimizers have the same keys in the same order, and tensors with equal bits."""
    import torch

    assert got["param_groups"] == want["param_groups"]
    assert list(got["state"]) == list(want["state"])
    for k, entry in want["state"].items():
        assert list(got["state"][k]) == list(entry)
        for key, value in entry.items():
            mine = got["state"][k][key]
            if isinstance(value, torch.Tensor):
                if value.ndim == 0:  # torch's load converts scalars to the parameter's dtype
                    value = value.to(mine.dtype)
                assert (mine.dtype, mine.stride()) == (value.dtype, value.stride()) and torch.equal(mine, value), key
            else:
                assert mine == value, key


@every_shared_optimizer
@pytest.mark.parametrize("sides", [(theirs, ours), (ours, theirs)], ids=["from torch", "to torch"])
def test_training_resumes_with_the_other_librarys_optimizer(
    name: str, sides: tuple[Callable[[str], type], ...], torch: Any, tmp_path: Path
) -> None:
    first, second = (side(name) for side in sides)
    for options in shared_options(name):
        assert_the_other_resumes(name, first, second, {**known(name, {"weight_decay": 0.03}), **options}, tmp_path)


def assert_the_other_resumes(name: str, first: type, second: type, options: Options, tmp_path: Path) -> None:
    """Train with the optimizer class `first`. Resume the training with the class `second`, and compare the losses.

    Also save the state that `second` has loaded, and resume the training from it with `first`.
    """
    model = network()
    opt = first(model.parameters(), **options)
    train(model, opt, batches(6))
    saved = through_file(snapshot(model, opt), tmp_path)
    want = train(model, opt, batches(6, seed=2))

    other, other_opt = resumed(second, saved)  # the options of the optimizer come from the file
    same_state(other_opt.state_dict(), saved["optimizer"])
    back, back_opt = resumed(first, through_file(snapshot(other, other_opt), tmp_path))
    same_state(back_opt.state_dict(), saved["optimizer"])
    np.testing.assert_allclose(train(other, other_opt, batches(6, seed=2)), want, rtol=0, atol=1e-6)
    assert train(back, back_opt, batches(6, seed=2)) == want, "a load and a save by the other class changed the state"
    fresh = network(seed=9)
    fresh.load_state_dict(saved["model"])
    without = train(fresh, second(fresh.parameters(), **options), batches(6, seed=2))
    if (name != "SGD" or "momentum" in options) and name != "ASGD":  # ASGD's state hardly changes these losses
        assert max(abs(a - b) for a, b in zip(without, want, strict=True)) > 1e-6, "losses must depend on the state"


@every_dtype
@every_shared_optimizer
def test_no_bit_changes_when_a_checkpoint_is_loaded(name: str, way: str, torch: Any, tmp_path: Path) -> None:
    """`way` is the dtype of the parameters. Each library loads a checkpoint of the other library."""
    options = {"momentum": 0.9} if name == "SGD" else known(name, {"eps": 1e-3})  # the default 1e-8 is 0 in float16
    for first, second in ((theirs, ours), (ours, theirs)):
        model = network(getattr(torch, way))
        opt = first(name)(model.parameters(), **options)
        train(model, opt, batches(3, getattr(torch, way)))
        saved = through_file(opt.state_dict(), tmp_path)
        assert saved["state"]
        other = second(name)(network(getattr(torch, way)).parameters())
        other.load_state_dict(saved)
        same_state(other.state_dict(), saved)


@every_optimizer
def test_training_resumes_from_checkpoints_of_earlier_torch_versions(name: str, torch: Any, tmp_path: Path) -> None:
    """In such checkpoints, the groups lack the options of later versions, and step counts are Python numbers.

    The class `reference` is torch's, or ours if torch has none. It trains first. At the end, it loads a checkpoint of
    the resumed training.
    """
    reference = theirs(name) if name in SHARED else ours(name)
    model = network()
    opt = reference(model.parameters(), lr=0.02)
    train(model, opt, batches(6))
    saved = copy.deepcopy(snapshot(model, opt))
    want = train(model, opt, batches(6, seed=2))
    for group in saved["optimizer"]["param_groups"]:
        for key in YOUNG:
            group.pop(key, None)
    for k, entry in enumerate(saved["optimizer"]["state"].values()):
        if "step" in entry:
            entry["step"] = (int, float)[k % 2](entry["step"])
    other, other_opt = resumed(ours(name), through_file(saved, tmp_path))
    np.testing.assert_allclose(train(other, other_opt, batches(6, seed=2)), want, rtol=0, atol=1e-6)
    for entry in other_opt.state.values():
        assert "step" not in entry or (entry["step"].dtype, entry["step"].item()) == (torch.float32, 12)
    _, reference_opt = resumed(reference, through_file(snapshot(other, other_opt), tmp_path))
    same_state(reference_opt.state_dict(), other_opt.state_dict())


@pytest.mark.parametrize("form", [{"fused": True}, {"foreach": True}, {"fused": False, "foreach": False}], ids=str)
def test_training_resumes_from_torchs_foreach_and_fused_optimizers(form: Options, torch: Any, tmp_path: Path) -> None:
    """In fusedstep, the options `foreach` and `fused` have no effect. They stay in the groups, for torch's use."""
    model = network()
    opt = theirs("AdamW")(model.parameters(), lr=0.02, **form)
    train(model, opt, batches(6))
    saved = through_file(snapshot(model, opt), tmp_path)
    want = train(model, opt, batches(6, seed=2))
    other, other_opt = resumed(ours("AdamW"), saved)
    assert {k: other_opt.param_groups[0][k] for k in form} == form
    np.testing.assert_allclose(train(other, other_opt, batches(6, seed=2)), want, rtol=0, atol=1e-6)


@every_optimizer
def test_options_and_averages_that_torch_lacks_are_saved_and_loaded(name: str, torch: Any, tmp_path: Path) -> None:
    """The options `l1` and `decay` and the averages are saved. The option `ema_decay` must be passed again."""
    extra = {"l1": 1e-4, "decay": "decoupled", "weight_decay": 0.01}
    model = network()
    opt = ours(name)(model.parameters(), ema_decay=0.9, **extra)
    train(model, opt, batches(6))
    saved = through_file(snapshot(model, opt), tmp_path)
    want = train(model, opt, batches(6, seed=2))
    other, other_opt = resumed(ours(name), saved, ema_decay=0.9)
    assert {k: other_opt.param_groups[0][k] for k in extra} == extra
    assert train(other, other_opt, batches(6, seed=2)) == want
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(opt.state[p]["ema"], other_opt.state[q]["ema"])


def test_averages_of_16_bit_parameters_are_float32_after_a_load(torch: Any, tmp_path: Path) -> None:
    """Torch's load alone would convert the averages to 16 bits. They would then lose small changes."""
    model, other = network(torch.bfloat16), network(torch.bfloat16, seed=9)
    opt, other_opt = (ours("AdamW")(m.parameters(), ema_decay=0.999) for m in (model, other))
    train(model, opt, batches(3, torch.bfloat16))
    other_opt.load_state_dict(saved := through_file(opt.state_dict(), tmp_path))
    same_state(other_opt.state_dict(), saved)
    assert other_opt.state[other[0].weight]["ema"].dtype is torch.float32


def test_schedulers_resume_with_the_optimizer(torch: Any, tmp_path: Path) -> None:
    """AdamW takes 6 steps in one library, and then 6 in the other. The losses agree with those of torch alone."""

    def start(cls: type) -> tuple[Any, Any, Any]:
        model = network()
        opt = cls(model.parameters(), lr=0.02)
        return model, opt, torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=0.05, total_steps=12)

    curves = []
    for first, second in ((theirs, ours), (ours, theirs), (theirs, theirs)):
        model, opt, schedule = start(first("AdamW"))
        losses = train(model, opt, batches(6), schedule.step)
        saved = through_file({**snapshot(model, opt), "schedule": schedule.state_dict()}, tmp_path)
        model, opt, schedule = start(second("AdamW"))
        model.load_state_dict(saved["model"]), opt.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        curves.append(losses + train(model, opt, batches(6, seed=2), schedule.step))
    np.testing.assert_allclose(curves[0], curves[2], rtol=0, atol=1e-6)
    np.testing.assert_allclose(curves[1], curves[2], rtol=0, atol=1e-6)


def test_loaded_states_have_the_strides_of_their_parameters(torch: Any, tmp_path: Path) -> None:
    """In the last load, the states in the checkpoint have other strides than the parameters."""
    for first, second in ((theirs, ours), (ours, theirs)):
        params = [torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last), torch.ones(7, 5).t()]
        opt = first("Adam")([p.requires_grad_() for p in params])
        for k, p in enumerate(params):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(k))
        opt.step()
        saved = through_file(opt.state_dict(), tmp_path)
        other = second("Adam")([p.detach().clone().requires_grad_() for p in params])
        other.load_state_dict(saved)
        same_state(other.state_dict(), saved)
    plain = [torch.nn.Parameter(p.detach().contiguous()) for p in params]
    mine = ours("Adam")(plain)
    mine.load_state_dict(saved)
    for k, p in enumerate(plain):
        moment = mine.state[p]["exp_avg"]
        assert moment.stride() == p.stride() and torch.equal(moment, saved["state"][k]["exp_avg"])


@pytest.mark.parametrize("step", [-1.0, 1.5, float("nan"), float("inf"), [1.0, 2.0]], ids=str)
def test_invalid_step_counts_in_a_checkpoint_are_refused_and_nothing_changes(step: Any, torch: Any) -> None:
    model = network()
    opt = ours("Adam")(model.parameters())
    train(model, opt, batches(2))
    saved = copy.deepcopy(opt.state_dict())
    before = copy.deepcopy(opt.state_dict())
    saved["state"][1]["step"] = torch.tensor(step)
    with pytest.raises(ValueError, match=r"Adam: state 'step' of params\[1\] must be a count of steps; got "):
        opt.load_state_dict(saved)
    same_state(opt.state_dict(), before)


def test_unsuitable_states_in_a_checkpoint_are_refused_and_nothing_changes(torch: Any) -> None:
    model = network()
    opt = ours("Adam")(model.parameters())
    train(model, opt, batches(2))
    before = copy.deepcopy(opt.state_dict())
    changes: dict[str, Callable[[Any], Any]] = {
        r"state 'exp_avg' of params\[0\] must be torch.float32 \(16, 7\); got torch.float32 \(7, 16\)": (
            lambda entry: entry.update(exp_avg=entry["exp_avg"].t().contiguous())
        ),
        r"state 'exp_avg_sq' of params\[0\] must be torch.float32 \(16, 7\); got torch.float32 \(1, 7\)": (
            lambda entry: entry.update(exp_avg_sq=entry["exp_avg_sq"][:1])
        ),
        r"state of params\[0\] must have 'exp_avg' after 2 steps, .*; got \['step', 'exp_avg_sq'\]": (
            lambda entry: entry.pop("exp_avg")
        ),
    }
    for message, change in changes.items():
        saved = copy.deepcopy(before)
        change(saved["state"][0])
        with pytest.raises(ValueError, match=message):
            opt.load_state_dict(saved)
        same_state(opt.state_dict(), before)
    train(model, opt, batches(6, seed=2))  # the optimizer still works


def test_a_checkpoint_of_adam_is_refused_by_sgd_and_nothing_changes(torch: Any) -> None:
    """A checkpoint of Adam lacks SGD's option `momentum`."""
    model = network()
    adam = theirs("Adam")(model.parameters())
    train(model, adam, batches(2))
    opt = ours("SGD")(model.parameters(), lr=0.5, momentum=0.9)
    before = copy.deepcopy(opt.state_dict())
    with pytest.raises(
        ValueError, match=r"SGD\.load_state_dict: param_groups\[0\] must have 'momentum'; got \['lr', 'be"
    ):
        opt.load_state_dict(adam.state_dict())
    same_state(opt.state_dict(), before)


@pytest.mark.parametrize("name", ["Adagrad", "Adadelta", "RMSprop", "Adam", "AdamW"])
def test_error_for_a_checkpoint_of_sgd_contains_the_missing_key(name: str, torch: Any) -> None:
    """The optimizer `name` reads `step` from every state that it loads. The saved states of SGD do not contain `step`.

    At the end, the test loads an empty dict. In this dict, `param_groups` is missing.
    """
    model = network()
    momentum = ours("SGD")(model.parameters(), lr=0.5, momentum=0.9)
    train(model, momentum, batches(1))
    opt = ours(name)(model.parameters())
    train(model, opt, batches(1))
    before = copy.deepcopy(opt.state_dict())
    with pytest.raises(ValueError, match=rf"{name}.load_state_dict: state_dict must be .* {name}; missing 'step'"):
        opt.load_state_dict(momentum.state_dict())
    same_state(opt.state_dict(), before)
    with pytest.raises(ValueError, match=rf"{name}.load_state_dict: state_dict must be .* {name}; missing 'param_g"):
        opt.load_state_dict({})
