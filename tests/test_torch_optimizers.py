"""The optimizers of fusedstep.torch give the same losses as torch's, and work with torch's options, hooks, schedulers.

`ours` and `mine` are of fusedstep, and `theirs` and `reference` are of torch.
"""

from __future__ import annotations

import copy
import gc
import inspect
import io
import pickle
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from support.bits import assert_same_bits
from support.torch_cases import (
    NAMES,
    backward,
    batches,
    every_optimizer,
    every_shared_optimizer,
    network,
    ours,
    pair,
    shared_options,
    theirs,
    torch_options,
    train,
)

every_way = pytest.mark.parametrize("way", ["float32", "float64"])


@pytest.fixture(autouse=True)
def one_thread(torch: Any) -> Iterator[None]:
    """Run each test with one thread of torch. On a busy machine, several threads would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def grads_of(params: list[Any], seed: int) -> None:
    """Set a random gradient for every parameter."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)


#: Arguments that are not tested by loss curves: the parameters, and options that choose torch's implementation.
FORMS = {"params", "foreach", "fused", "capturable", "differentiable"}


@every_shared_optimizer
def test_the_loss_curves_cover_every_option_that_changes_the_result(name: str, torch: Any) -> None:
    """`FORMS` contains `params` and the options that choose torch's implementation."""
    covered = {option for options in torch_options(name) for option in options}
    assert covered | {"lr"} == inspect.signature(theirs(name)).parameters.keys() - FORMS


@every_way
@every_shared_optimizer
def test_loss_curves_of_200_steps_agree_with_torch(name: str, way: str, torch: Any) -> None:
    """`way` is the dtype of the model and of the data."""
    dtype = getattr(torch, way)
    data = batches(200, dtype)
    for options in torch_options(name):
        mine, opt, other, reference = pair(name, options, dtype)
        got, want = train(mine, opt, data), train(other, reference, data)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 if way == "float32" else 1e-12, err_msg=str(options))
        assert want[0] - want[-1] > 1e-2, "the loss must fall, because otherwise this test proves nothing"


SCRIPT = """
import torch
from torch.optim import {name}
from torch.nn import BatchNorm1d, Dropout

torch.manual_seed(0)
x = torch.randn(64, 7)
y = (x @ torch.randn(7, 3)).sin()
model = torch.nn.Sequential(
    torch.nn.Linear(7, 16), BatchNorm1d(16), torch.nn.Tanh(), Dropout(0.0), torch.nn.Linear(16, 3)
)
optimizer = {name}([{{"params": model[0].parameters(), "lr": 0.003}}, {{"params": model[1:].parameters()}}], lr=0.006)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=[0.003, 0.006], total_steps=200, cycle_momentum=False)
losses = []
for step in range(200):
    def closure():
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        return loss
    losses.append(optimizer.step(closure).item())
    schedule.step()
    if step == 100:
        saved = {{"model": model.state_dict(), "optimizer": optimizer.state_dict()}}
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
model.eval()
losses.append((model(x) - y).square().mean().item())
"""


@every_shared_optimizer
def test_a_training_script_works_with_only_its_imports_changed(name: str, torch: Any) -> None:
    # NAdam gets a smaller learning rate. With 0.006, each of several steps would double NAdam's rounding errors.
    script = SCRIPT.format(name=name).replace("0.006", "0.003" if name == "NAdam" else "0.006")
    changed = script.replace("from torch.optim import", "from fusedstep.torch import")
    changed = changed.replace("from torch.nn import", "from fusedstep.torch import")
    curves = []
    for source, home in ((script, "torch."), (changed, "fusedstep.torch.")):
        names: dict[str, Any] = {}
        exec(source, names)
        assert type(names["optimizer"]).__module__.startswith(home)
        assert type(names["model"][1]).__module__.startswith(home)
        curves.append(names["losses"])
    np.testing.assert_allclose(*curves, rtol=0, atol=1e-5)
    assert curves[0][-1] < curves[0][0] - 0.01


@every_optimizer
def test_results_on_tensors_and_on_arrays_have_the_same_bits(name: str, torch: Any, rng: np.random.Generator) -> None:
    """The results on NumPy arrays are the reference, because torch does not have all of these optimizers."""
    for options in ({}, {"l1": 0.01, "weight_decay": 0.1}, {"decay": "proximal", "l1": 0.1, "ema_decay": 0.9}):
        arrays = [rng.standard_normal(s).astype(np.float32) for s in ((70, 90), (3,), (41, 5))]
        tensors = [torch.tensor(a).requires_grad_() for a in arrays]
        arrays_opt = fs.optim.registry[name](arrays, lr=0.01, **options)
        opt = ours(name)(tensors, lr=0.01, **options)
        for _ in range(3):
            grads = [rng.standard_normal(a.shape).astype(np.float32) for a in arrays]
            arrays_opt.step(grads)
            for t, g in zip(tensors, grads, strict=True):
                t.grad = torch.tensor(g)
            opt.step()
        for a, t in zip(arrays, tensors, strict=True):
            assert_same_bits(t.detach().numpy(), a, name)
        for k, t in enumerate(tensors):
            for state, array in arrays_opt.state[k].items():
                assert_same_bits(
                    opt.state[t][state].numpy().astype(array.dtype), array, (name, state)
                )  # scalar states have another dtype in torch, so they are converted
            if arrays_opt.ema is not None:
                assert_same_bits(opt.state[t]["ema"].numpy(), arrays_opt.ema[k], (name, "ema"))


@every_shared_optimizer
def test_signature_contains_torchs_arguments_with_torchs_defaults(name: str, torch: Any) -> None:
    """All other arguments are keyword-only. The class is a subclass of torch's class."""
    mine, reference = inspect.signature(ours(name)).parameters, inspect.signature(theirs(name)).parameters
    for argument, p in reference.items():
        assert (mine[argument].default, mine[argument].kind) == (p.default, p.kind), argument
    assert all(p.kind is p.KEYWORD_ONLY for argument, p in mine.items() if argument not in reference)
    assert issubclass(ours(name), theirs(name))


@every_shared_optimizer
def test_groups_and_states_have_the_same_keys_and_nearly_the_same_values_as_in_torch(name: str, torch: Any) -> None:
    for options in shared_options(name):
        mine, opt, other, reference = pair(name, options)
        for steps in (0, 1, 3):
            data = batches(steps)
            train(mine, opt, data), train(other, reference, data)
            got, want = opt.state_dict(), reference.state_dict()
            assert got["param_groups"] == want["param_groups"]
            assert [list(g) for g in got["param_groups"]] == [list(g) for g in want["param_groups"]]
            assert list(got["state"]) == list(want["state"])
            for k, entry in want["state"].items():
                assert list(got["state"][k]) == list(entry)
                for key, value in entry.items():
                    same = got["state"][k][key]
                    assert (same.dtype, same.shape, same.stride()) == (value.dtype, value.shape, value.stride()), key
                    torch.testing.assert_close(same, value, rtol=1e-3, atol=1e-4)
                if "step" in entry:
                    assert torch.equal(got["state"][k]["step"], entry["step"])


def test_every_registered_optimizer_is_public_and_the_tests_cover_all_element_wise_ones(torch: Any) -> None:
    """The module has no optimizer `Adamm`. The error message must contain this name."""
    import fusedstep.torch

    assert set(fusedstep.torch.__all__) >= set(fs.optim.registry)
    assert [name for name, cls in fs.optim.registry.items() if cls.element_wise] == NAMES
    with pytest.raises(AttributeError, match="Adamm"):
        fusedstep.torch.Adamm  # noqa: B018


@every_optimizer
def test_schedulers_accept_a_tensor_as_learning_rate(name: str, torch: Any) -> None:
    def curve(start: Any, of_tensor: bool) -> list[float]:
        model = network()
        opt = ours(name)(model.parameters(), lr=torch.tensor(start) if of_tensor else start)
        schedule = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=start, total_steps=30, cycle_momentum=False)
        return train(model, opt, batches(30), schedule.step)

    np.testing.assert_allclose(curve(0.02, True), curve(0.02, False), rtol=1e-5)
    flat = train(model := network(), ours(name)(model.parameters(), lr=0.02), batches(30))
    assert abs(flat[-1] - curve(0.02, False)[-1]) > 1e-4, "the schedule must change the losses"


@every_shared_optimizer
def test_losses_with_a_scheduler_agree_with_torchs(name: str, torch: Any) -> None:
    losses = []
    for cls in (ours(name), theirs(name)):
        model = network()
        opt = cls(model.parameters(), lr=0.02)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 10)
        losses.append(train(model, opt, batches(20), schedule.step))
    np.testing.assert_allclose(*losses, atol=1e-5)


def test_momentum_that_a_scheduler_changes_is_used_without_a_new_binding(
    torch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every step, the scheduler OneCycleLR changes `betas`, or `momentum` if the optimizer is SGD.

    A `Binding` prepares all parameters and states for the kernel. A new `Binding` would take longer than the step.
    """
    from fusedstep.torch import _base

    made = []

    class Counted(_base.Binding):
        def __init__(self, *args: Any) -> None:
            made.append(1)
            super().__init__(*args)

    monkeypatch.setattr(_base, "Binding", Counted)
    for name, options in (("Adam", {}), ("SGD", {"momentum": 0.9}), ("AdamW", {"amsgrad": True})):
        curves = []
        for cls in (ours(name), theirs(name)):
            model = network()
            opt = cls(model.parameters(), lr=0.02, **options)
            schedule = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=0.02, total_steps=40)
            made.clear()
            curves.append(train(model, opt, batches(40), schedule.step))
            assert len(made) == (1 if cls is ours(name) else 0)
        np.testing.assert_allclose(*curves, rtol=0, atol=1e-5)


def test_changes_of_a_group_take_effect_or_are_refused(torch: Any) -> None:
    """If amsgrad is switched on after a step, the state `max_exp_avg_sq` is missing, and the next step is refused.

    A new list of parameters takes effect. An invalid eps is refused.
    """
    a, b = (torch.ones(3, requires_grad=True) for _ in range(2))
    grads_of([a, b], 0)
    opt = ours("Adam")([a], lr=0.1)
    opt.step()
    opt.param_groups[0].update(amsgrad=True, betas=(0.8, 0.9))
    with pytest.raises(ValueError, match=r"state of params\[0\] must have 'max_exp_avg_sq' after 1 steps"):
        opt.step()
    opt.param_groups[0].update(amsgrad=False, params=[b], betas=(0.7, 0.9))
    before = a.detach().clone()
    opt.step()
    assert torch.equal(a, before) and (b != 1).all()
    opt.param_groups[0]["eps"] = -1.0
    for _ in range(2):
        with pytest.raises(ValueError, match=r"Adam: param_groups\[0\]: eps must be at least 0"):
            opt.step()


def test_step_counter_is_on_the_cpu_if_the_default_device_is_meta(torch: Any) -> None:
    with torch.device("meta"):
        w = torch.ones(3, device="cpu").requires_grad_()
        w.grad = torch.ones(3, device="cpu")
        opt = ours("Adam")([w], lr=0.1)
        opt.step()
    assert opt.state[w]["step"].item() == 1 and (w != 1).all()


def test_a_learning_rate_tensor_may_be_changed_in_place(torch: Any) -> None:
    w = torch.zeros(1, requires_grad=True)
    lr = torch.tensor(0.5)
    opt = ours("SGD")([w], lr=lr)
    w.grad = torch.ones(1)
    opt.step()
    lr.fill_(2.0)
    opt.step()
    assert w.item() == -2.5


@every_optimizer
def test_groups_have_their_own_rates_and_can_be_added_later(name: str, torch: Any) -> None:
    a, b, c = (torch.ones(3, requires_grad=True) for _ in range(3))
    opt = ours(name)([{"params": [a], "lr": 0.0}, {"params": b}], lr=0.1)
    opt.add_param_group({"params": [c], "lr": 0.2})
    grads_of([a, b, c], 0)
    opt.step()
    # Rprop changes each element by at least 1e-6, also if lr is 0.
    assert (a == 1).all() == (name != "Rprop") and (b != 1).all() and (c != 1).all()
    opt.add_param_group({"params": [d := torch.ones(3, requires_grad=True)]})
    grads_of([a, b, c, d], 1)
    opt.step()
    assert (d != 1).all()
    opt.param_groups[0]["lr"] = 0.3
    opt.step()
    opt.step()  # ASGD uses a new learning rate one step later
    assert (a != 1).all()


def test_options_that_are_changed_after_a_step_take_effect(torch: Any) -> None:
    """The options are weight_decay, maximize, betas and eps. Each is changed in one of two equal optimizers.

    Both optimizers get equal gradients. After the change, their parameters become different.
    """
    for name in NAMES:
        for key, value in {"weight_decay": 0.5, "maximize": True, "betas": (0.5, 0.5), "eps": 0.1}.items():
            params = [torch.ones(40, requires_grad=True) for _ in range(2)]
            opts = [ours(name)([p], lr=0.1) for p in params]
            if key not in opts[0].param_groups[0]:
                continue
            if key == "betas":
                value = (0.5,) * len(opts[0].param_groups[0]["betas"])
            grads_of(params[:1], 0)
            params[1].grad = params[0].grad.clone()
            for opt in opts:
                opt.step()
            assert torch.equal(*params)
            opts[0].param_groups[0][key] = value
            for seed in range(6):  # RAdam uses eps from the sixth step on
                grads_of(params[:1], seed)
                params[1].grad = params[0].grad.clone()
                for opt in opts:
                    opt.step()
            assert not torch.equal(*params), (name, key)


def test_step_count_of_a_parameter_is_its_number_of_steps_with_a_gradient(torch: Any) -> None:
    """The parameters agree with torch's."""
    mine, opt, other, reference = pair("Adam", {})
    for k, batch in enumerate(batches(6)):
        for model, o in ((mine, opt), (other, reference)):
            o.zero_grad()
            backward(model, batch)
            if k % 2:
                model[2].weight.grad = None
            o.step()
    assert opt.state[mine[2].weight]["step"] == 3 and opt.state[mine[0].weight]["step"] == 6
    for p, q in zip(mine.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_parameters_may_be_frozen_and_unfrozen(torch: Any) -> None:
    model = network()
    frozen = model[0].weight.requires_grad_(False)
    opt = ours("Adam")(model.parameters(), lr=0.1)
    before = frozen.clone()
    train(model, opt, batches(2))
    assert torch.equal(frozen, before) and frozen not in opt.state
    frozen.requires_grad_(True)
    train(model, opt, batches(2))
    assert not torch.equal(frozen, before) and opt.state[frozen]["step"] == 2


@pytest.mark.parametrize("to_none", [True, False])
def test_zero_grad_removes_gradients_or_sets_them_to_zero(to_none: bool, torch: Any) -> None:
    """The argument `set_to_none` of `zero_grad` decides between the two."""
    w = torch.ones(3, requires_grad=True)
    opt = ours("SGD")([w], lr=0.1)
    w.grad = torch.ones(3)
    opt.zero_grad(set_to_none=to_none)
    assert w.grad is None if to_none else not w.grad.any()


def test_step_calls_a_closure_with_gradients_enabled(torch: Any) -> None:
    model = network()
    opt = ours("Adam")(model.parameters())
    batch = batches(1)[0]

    def closure() -> Any:
        assert torch.is_grad_enabled()
        opt.zero_grad()
        return backward(model, batch)

    with torch.no_grad():
        first = opt.step(closure)
    assert opt.step(closure) < first


def test_hooks_run_and_the_profiler_records_steps(torch: Any) -> None:
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    seen = []
    w = torch.ones(3, requires_grad=True)
    w.grad = torch.ones(3)
    opt = ours("SGD")([w], lr=1.0)
    handles = [
        opt.register_step_pre_hook(lambda o, args, kwargs: seen.append(("pre", w[0].item(), len(args)))),
        opt.register_step_post_hook(lambda o, args, kwargs: seen.append(("post", w[0].item(), len(args)))),
        register_optimizer_step_pre_hook(lambda *_: seen.append("global")),
    ]
    opt.step()
    assert seen == ["global", ("pre", 1.0, 1), ("post", 0.0, 1)]
    for handle in handles:
        handle.remove()
    opt.step()
    assert len(seen) == 3
    with torch.profiler.profile() as profile:
        opt.step()
        opt.zero_grad()
    names = [event.key for event in profile.key_averages()]
    assert "Optimizer.step#SGD.step" in names and "Optimizer.zero_grad#SGD.zero_grad" in names


def test_hooks_of_state_dicts_are_called(torch: Any) -> None:
    w = torch.ones(3, requires_grad=True)
    opt = ours("Adam")([w])
    opt.register_state_dict_post_hook(lambda o, d: {**d, "extra": 1})
    opt.register_load_state_dict_pre_hook(lambda o, d: {k: v for k, v in d.items() if k != "extra"})
    saved = opt.state_dict()
    assert saved["extra"] == 1
    opt.load_state_dict(saved)


@every_optimizer
def test_copied_and_pickled_optimizers_continue_with_the_losses_of_the_original(name: str, torch: Any) -> None:
    """Also, `torch.load` with its defaults can read a saved state dict."""
    model = network()
    options = {"clip_norm": 0.5, "ema_decay": 0.9, "l1": 1e-4}
    opt = ours(name)(model.parameters(), **options)
    train(model, opt, batches(3))
    copies = [copy.deepcopy((model, opt)), pickle.loads(pickle.dumps((model, opt)))]
    want = train(model, opt, batches(3, seed=2))
    for other, other_opt in copies:
        assert type(other_opt) is type(opt)
        assert other_opt.clip_norm == 0.5 and other_opt.ema_decay == 0.9
        assert train(other, other_opt, batches(3, seed=2)) == want
        assert torch.equal(other[0].weight, model[0].weight)
    buffer = io.BytesIO()
    torch.save(opt.state_dict(), buffer)
    buffer.seek(0)
    opt.load_state_dict(torch.load(buffer))


def test_names_of_parameters_are_in_groups_and_errors(torch: Any) -> None:
    model = network()
    opt = ours("Adam")(model.named_parameters())
    assert opt.param_groups[0]["param_names"][:2] == ["0.weight", "0.bias"]
    assert opt.state_dict()["param_groups"][0]["param_names"][0] == "0.weight"
    model[0].bias.grad = torch.ones(16, dtype=torch.float32).to_sparse()
    with pytest.raises(RuntimeError, match=r'Adam\.step: grads\[1\] \("0\.bias"\) must be dense'):
        opt.step()


def test_tied_weights_are_updated_once(torch: Any) -> None:
    w = torch.nn.Parameter(torch.ones(3))
    w.grad = torch.ones(3)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        opt = ours("SGD")([w, w], lr=0.25)
    opt.step()
    assert (w == 0.75).all()
    model = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    model[1].weight = model[0].weight
    opt = ours("SGD")(model.parameters(), lr=0.25)
    (model[0].weight.sum() + model[1].weight.sum()).backward()
    before = model[0].weight.clone()
    opt.step()
    torch.testing.assert_close(before - model[1].weight, torch.full((2, 2), 0.5))


def test_step_increments_the_version_counters_of_autograd(torch: Any) -> None:
    """The backward pass of `w * w` needs the old `w`. The step changes `w`, so `backward` must raise an error."""
    w = torch.ones(3, requires_grad=True)
    opt = ours("SGD")([w], lr=0.1)
    w.grad = torch.ones(3)
    loss = (w * w).sum()
    opt.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_parameter_without_gradient_keeps_its_version_counter(torch: Any) -> None:
    a, b = (torch.ones(3, requires_grad=True) for _ in range(2))
    opt = ours("SGD")([a, b], lr=0.1)
    a.grad = torch.ones(3)
    versions = a._version, b._version
    opt.step()
    assert (a._version, b._version) == (versions[0] + 1, versions[1])


def test_changes_of_the_state_by_the_user_take_effect(torch: Any) -> None:
    mine, opt, other, reference = pair("Adam", {"lr": 0.01})
    data = batches(12)
    meddling: list[Any] = [
        lambda m, o: o.state.clear(),
        lambda m, o: o.state[m[0].weight].update(exp_avg=torch.ones_like(m[0].weight)),
        lambda m, o: o.state[m[0].weight]["exp_avg_sq"].data.fill_(0.5),
        lambda m, o: o.state[m[0].weight]["step"].fill_(7),
        lambda m, o: setattr(o.state[m[0].bias]["exp_avg"], "data", torch.full((16,), 0.1)),
        lambda m, o: setattr(m[2].weight, "data", torch.full((16, 16), 0.1)),
        lambda m, o: o.state.pop(m[4].weight),
        lambda m, o: o.param_groups[0].update(betas=(0.5, 0.9)),
    ]
    train(mine, opt, data[:2]), train(other, reference, data[:2])
    for k, meddle in enumerate(meddling):
        meddle(mine, opt), meddle(other, reference)
        part = data[2 + k : 3 + k]
        got, want = train(mine, opt, part), train(other, reference, part)
        assert got == pytest.approx(want, abs=1e-5), k
        for p, q in zip(mine.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-5, msg=f"after change {k}")


def test_deleted_model_and_optimizer_are_freed(torch: Any) -> None:
    model = network()
    opt = ours("Adam")(model.parameters())
    train(model, opt, batches(2))
    reference = weakref.ref(model[0].weight)
    del model, opt
    gc.collect()
    assert reference() is None


def test_lookahead_agrees_with_the_numpy_api(torch: Any, rng: np.random.Generator) -> None:
    """NAG's context `lookahead` moves the parameters to the points at which the gradients are computed.

    A step inside the context is refused. SGD has no such context.
    """
    w = rng.standard_normal(50).astype(np.float32)
    array, tensor = w.copy(), torch.tensor(w).requires_grad_()
    arrays_opt, opt = fs.NAG([array], lr=0.1, momentum=0.5), ours("NAG")([tensor], lr=0.1, momentum=0.5)
    for _ in range(3):
        with arrays_opt.lookahead():
            g = 2 * array
        arrays_opt.step([g])
        opt.zero_grad()
        with opt.lookahead():
            (tensor**2).sum().backward()
            with pytest.raises(RuntimeError, match="cannot be called inside lookahead"):
                opt.step()
        opt.step()
    np.testing.assert_allclose(tensor.detach().numpy(), array, rtol=1e-6)
    assert not hasattr(ours("SGD"), "lookahead")


def test_step_inside_torch_compile_updates_the_parameter(torch: Any) -> None:
    """The compiled graph ends before the step, and Python calls the step."""
    w = torch.ones(3, requires_grad=True)
    opt = ours("SGD")([w], lr=0.25)
    w.grad = torch.ones(3)
    torch.compile(lambda: opt.step(), backend="eager")()
    assert (w == 0.75).all()


@every_optimizer
def test_a_parameter_whose_gradient_was_set_to_none_does_not_change(name: str, torch: Any) -> None:
    params = [torch.nn.Parameter(torch.ones(3, 2)), torch.nn.Parameter(torch.ones(5))]
    optimizer = ours(name)(params, lr=0.1)
    for p in params:
        p.grad = torch.ones_like(p)
    for _ in range(2):
        optimizer.step()
    params[0].grad = None
    before = [p.detach().clone() for p in params]
    optimizer.step()
    assert torch.equal(params[0], before[0]) and not torch.equal(params[1], before[1])
    optimizer.zero_grad()
    before = [p.detach().clone() for p in params]
    optimizer.step()
    assert all(map(torch.equal, params, before))
