"""Our optimizers and layers are tested with the lists of test inputs in the installed torch: `optim_db`, `module_db`.

If the environment variable FUSEDSTEP_NIGHTLY is set, optimizers are tested with all valid inputs, otherwise with every
eighth. Layers are always tested with all inputs, and optimizers with all invalid inputs.
"""

from __future__ import annotations

import copy
import itertools
import os
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

import pytest

if not os.environ.get("FUSEDSTEP_REQUIRE_PEERS"):
    for package in ("torch", "expecttest"):
        if find_spec(package) is None:
            pytest.skip(f"needs {package}: pip install 'fusedstep[peers]'", allow_module_level=True)

import torch

import fusedstep.torch as ft

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_modules import module_db
    from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")]

# These four optimizers are not tested here, but in test_torch_optim_db.py. Muon needs matrices, and SparseAdam needs
# sparse gradients. For ASGD and NAdam, torch's results with foreach=True and with foreach=False are rounded
# differently.
APART = ("ASGD", "Muon", "NAdam", "SparseAdam")
OURS = [i for i in optim_db if hasattr(ft, i.optim_cls.__name__) and i.optim_cls.__name__ not in APART]
LAYERS = [info for info in module_db if hasattr(ft, info.module_cls.__name__)]
DTYPES = (torch.float32, torch.float64)
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13}
SHAPES: dict[str, Callable[[Any], list[Any]]] = {
    "plain": lambda make: [make(4, 5), make(3)],
    "transposed": lambda make: [make(5, 4).t(), make(2, 3, 4).permute(2, 0, 1)],
    "unusual sizes": lambda make: [make(()), make(0), make(1), make(257)],
}


class Case(NamedTuple):
    """A test of one optimizer with one set of options and one dtype.

    `info` contains torch's test inputs for the optimizer. `about` describes the options.
    """

    info: Any
    options: dict[str, Any]
    about: str
    dtype: Any

    @property
    def ours(self) -> Any:
        return getattr(ft, self.info.optim_cls.__name__)

    @property
    def theirs(self) -> Any:
        return self.info.optim_cls


def sliced(cases: list[Any]) -> list[Any]:
    """Return all cases if FUSEDSTEP_NIGHTLY is set, else every eighth case."""
    return cases if os.environ.get("FUSEDSTEP_NIGHTLY") else cases[::8]


def all_cases() -> Iterator[Case]:
    for info, dtype in itertools.product(OURS, DTYPES):
        for given in info.optim_inputs_func(device="cpu"):
            yield Case(info, given.kwargs, given.desc, dtype)


CASES = list(all_cases())


def name_of(value: Any) -> str:
    if isinstance(value, Case):
        return f"{value.theirs.__name__}-{value.about}-{value.dtype}".replace("torch.", "").replace(" ", "_")
    return value if isinstance(value, str) else ""


def over(*more: Any, names: str = "case") -> Any:
    """Parametrize a test over all combinations of CASES with the values in `more`, or over every eighth of them.

    `sliced` decides between all and every eighth.
    """
    crossed = [x[0] if len(x) == 1 else x for x in itertools.product(CASES, *more)]
    return pytest.mark.parametrize(names, sliced(crossed), ids=name_of)


def parameters(shape: str, dtype: Any, seed: int = 0) -> list[Any]:
    generator = torch.Generator().manual_seed(seed)
    made = SHAPES[shape](lambda *size: torch.randn(*size, generator=generator, dtype=dtype))
    return [p.requires_grad_() for p in made]


def own(options: dict[str, Any]) -> dict[str, Any]:
    """Return options with copies of their tensors, because a schedule changes a learning rate that is a tensor."""
    return {name: v.clone() if isinstance(v, torch.Tensor) else v for name, v in options.items()}


def set_gradients(params: list[Any], seed: int, like_params: bool = False) -> None:
    """Set random gradients in C order, or, if `like_params` is True, with the parameters' strides.

    torch's fused steps are correct only if gradients have the parameters' strides.
    """
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        g = torch.randn(p.shape, generator=generator, dtype=p.dtype)
        p.grad = torch.empty_like(p).copy_(g) if like_params else g


def assert_same(mine: Any, other: Any, dtype: Any) -> None:
    torch.testing.assert_close(mine, other, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def assert_same_state(mine: Any, other: Any, dtype: Any) -> None:
    assert mine.keys() == other.keys()
    for k in mine:
        assert set(mine[k]) == set(other[k])
        for name, value in mine[k].items():
            assert_same(torch.as_tensor(value).to(dtype), torch.as_tensor(other[k][name]).to(dtype), dtype)


@over(SHAPES, ("foreach", "fused", "for-loop"), names=("case", "shape", "way"))
def test_steps_agree_with_torch(case: Case, shape: str, way: str) -> None:
    if way == "fused" and "cpu" not in case.info.supports_fused_on:
        way = "for-loop"
    mine, other = parameters(shape, case.dtype), parameters(shape, case.dtype)
    if case.theirs is torch.optim.Adafactor:  # torch's Adafactor divides by the number of elements, which may be 0
        mine, other = ([p for p in params if p.numel()] for params in (mine, other))
    opt = case.ours(mine, **own(case.options))
    their_options = own(case.options)
    if way == "foreach" and isinstance(their_options.get("lr"), torch.Tensor):
        their_options["lr"] = float(their_options["lr"])
    theirs = case.theirs(other, **their_options, **({} if way == "for-loop" else {way: True}))
    for t in range(7):
        set_gradients(mine, t)
        set_gradients(other, t, like_params=way == "fused")
        opt.step()
        theirs.step()
    for p, q in zip(mine, other, strict=True):
        assert_same(p, q, case.dtype)
    assert_same_state(opt.state_dict()["state"], theirs.state_dict()["state"], case.dtype)


def problem(dtype: Any) -> tuple[Any, Any, Callable[[], Any]]:
    """Return a weight, a bias, and a function that returns a loss of the two."""
    torch.manual_seed(0)
    weight, bias = torch.randn(10, 5, dtype=dtype, requires_grad=True), torch.randn(10, dtype=dtype, requires_grad=True)
    inputs = torch.randn(5, dtype=dtype)
    return weight, bias, lambda: (weight.mv(inputs) + bias - 1.0).pow(2).sum()


@over(range(7), names=("case", "which"))
def test_losses_fall_with_every_schedule_and_rise_if_maximize_is_true(case: Case, which: int) -> None:
    """For each optimizer, torch has a list of combinations of schedulers. `which` is an index into this list."""
    schedules = list(case.info.scheduler_inputs)
    makers = schedules[which % len(schedules)]
    weight, bias, loss_of = problem(case.dtype)
    opt = case.ours([weight, bias], **own(case.options))
    schedulers = [make(opt) for make in makers if make is not None]
    sign = -1 if case.options.get("maximize") else 1

    def closure() -> Any:
        opt.zero_grad()
        loss = loss_of()
        loss.backward()
        return loss

    first = float(closure().detach())
    for _ in range(20):
        loss = opt.step(closure)
        for scheduler in schedulers:
            if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                scheduler.step(loss.detach())
            else:
                scheduler.step()
    last = float(closure().detach())
    assert last > first if sign < 0 else last < first


@over((True, False), names=("case", "to_theirs"))
def test_torch_loads_states_of_fusedstep_and_fusedstep_loads_states_of_torch(case: Case, to_theirs: bool) -> None:
    classes = (case.ours, case.theirs) if to_theirs else (case.theirs, case.ours)
    params = parameters("plain", case.dtype)
    first = classes[0](params, **own(case.options))
    for t in range(3):
        set_gradients(params, t)
        first.step()
    copies = [p.detach().clone().requires_grad_() for p in params]
    second = classes[1](copies, **own(case.options))
    saved = copy.deepcopy(first.state_dict())
    second.load_state_dict(saved)
    assert_same_state(second.state_dict()["state"], saved["state"], case.dtype)
    for t in range(3, 6):
        for each, opt in ((params, first), (copies, second)):
            set_gradients(each, t)
            opt.step()
    for p, q in zip(params, copies, strict=True):
        assert_same(p, q, case.dtype)


@over(names="case")
def test_hooks_run_in_the_same_order_as_with_torch(case: Case) -> None:
    """The hooks are those of `step`, `state_dict` and `load_state_dict`."""

    def record(cls: Any) -> list[str]:
        params = parameters("plain", case.dtype)
        opt, said = cls(params, **own(case.options)), []
        opt.register_step_pre_hook(lambda *_: said.append("before"))
        opt.register_step_post_hook(lambda *_: said.append("after"))
        opt.register_step_pre_hook(lambda *_: said.append("second before"))
        opt.register_state_dict_pre_hook(lambda _: said.append("asked"))
        opt.register_state_dict_post_hook(lambda _, state: {**state, "mine": said.append("given")})
        opt.register_load_state_dict_pre_hook(lambda _, state: said.append(f"loading {sorted(state)}"))
        opt.register_load_state_dict_post_hook(lambda _: said.append("loaded"))
        set_gradients(params, 0)
        opt.step()
        opt.load_state_dict(opt.state_dict())
        opt.step(lambda: said.append("closure") or torch.ones(()))
        return said

    assert record(case.ours) == record(case.theirs) != []


@over(names="case")
def test_steps_of_several_groups_agree_with_torch(case: Case) -> None:
    decays = "weight_decay" in case.theirs(parameters("plain", case.dtype)).defaults

    def train(cls: Any) -> Any:
        params = parameters("plain", case.dtype)
        more = torch.ones(3, dtype=case.dtype, requires_grad=True)
        options = own(case.options)
        rate = float(options.pop("lr", 0.01))
        opt = cls([{"params": [params[0]], "lr": rate * 2}, {"params": params[1:]}], lr=rate, **options)
        opt.add_param_group({"params": [more], **({"weight_decay": 0.3} if decays else {})})
        for t in range(4):
            set_gradients([*params, more], t)
            opt.param_groups[1]["lr"] = rate / (t + 1)
            opt.step()
        return [*params, more], opt

    (mine, ours), (other, theirs) = train(case.ours), train(case.theirs)
    for p, q in zip(mine, other, strict=True):
        assert_same(p, q, case.dtype)
    for a, b in zip(ours.param_groups, theirs.param_groups, strict=True):
        assert set(b) <= set(a) and a["lr"] == b["lr"] and a.get("weight_decay") == b.get("weight_decay")


@over(names="case")
def test_learning_rate_that_is_a_tensor_gives_the_same_steps_as_a_number(case: Case) -> None:
    rate = float(case.options.get("lr", 0.01))
    results = []
    for lr in (rate, torch.tensor(rate, dtype=torch.float64), torch.tensor([rate], dtype=torch.float64)):
        params = parameters("plain", case.dtype)
        opt = case.ours(params, **{**own(case.options), "lr": lr})
        scheduler = torch.optim.lr_scheduler.ExponentialLR(opt, 0.9)
        for t in range(3):
            set_gradients(params, t)
            opt.step()
            scheduler.step()
        results.append(params)
    for params in results[1:]:
        for p, q in zip(params, results[0], strict=True):
            assert_same(p, q, case.dtype)


@over(names="case")
def test_parameters_without_gradient_do_not_change(case: Case) -> None:
    """The states agree with torch's. The test also calls `copy.deepcopy` and `repr` for the optimizer."""
    params = parameters("plain", case.dtype)
    opt = case.ours(params, **own(case.options))
    set_gradients(params[:1], 0)
    before = params[1].detach().clone()
    opt.step()
    assert torch.equal(params[1], before)
    others = parameters("plain", case.dtype)
    theirs = case.theirs(others, **own(case.options))
    set_gradients(others[:1], 0)
    theirs.step()
    assert_same_state(opt.state_dict()["state"], theirs.state_dict()["state"], case.dtype)
    opt.zero_grad(set_to_none=True)
    assert all(p.grad is None for p in params)
    before = [p.detach().clone() for p in params]
    opt.step()
    assert all(map(torch.equal, params, before))
    copied = copy.deepcopy(opt)
    assert copied.param_groups[0]["lr"] == opt.param_groups[0]["lr"] and type(copied) is type(opt)
    assert repr(opt).startswith(type(opt).__name__)


def mistakes() -> list[Any]:
    found = []
    for info in OURS:
        for k, wrong in enumerate(info.optim_error_inputs_func(device="cpu", dtype=torch.float32)):
            found.append(pytest.param(info, wrong, id=f"{info.optim_cls.__name__}-{k}"))
    return found


@pytest.mark.parametrize(("info", "wrong"), mistakes())
def test_mistakes_that_torch_refuses_are_refused(info: Any, wrong: Any) -> None:
    """If torch's constructor raises a ValueError, fusedstep's may raise a TypeError instead."""
    given = wrong.optimizer_error_input
    params = [torch.zeros(2, requires_grad=True)] if given.params is None else given.params
    if wrong.error_on is OptimizerErrorEnum.CONSTRUCTION_ERROR:
        with pytest.raises((wrong.error_type, TypeError) if wrong.error_type is ValueError else wrong.error_type):
            getattr(ft, info.optim_cls.__name__)(params, **given.kwargs)
    else:
        with pytest.raises(wrong.error_type, match=wrong.error_regex):
            getattr(ft, info.optim_cls.__name__)(params, **given.kwargs).step()


def layer_inputs() -> list[Any]:
    found = []
    for info, dtype, training in itertools.product(LAYERS, DTYPES, (True, False)):
        given = info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=training)
        for k, each in enumerate(given):
            name = f"{info.module_cls.__name__}-{dtype}-{'train' if training else 'eval'}-{k}".replace("torch.", "")
            found.append(pytest.param(info, dtype, training, each, id=name))
    return found


@pytest.mark.parametrize(("info", "dtype", "training", "given"), layer_inputs())
def test_layers_agree_with_torch(info: Any, dtype: Any, training: bool, given: Any) -> None:
    """Outputs, gradients and statistics are compared for several memory layouts of the input."""
    made = given.constructor_input
    torch.manual_seed(0)
    theirs = info.module_cls(*made.args, **made.kwargs).to(dtype).train(training)
    mine = getattr(ft, info.module_cls.__name__)(*made.args, **made.kwargs).to(dtype).train(training)
    mine.load_state_dict(theirs.state_dict())
    x, *rest = given.forward_input.args
    layouts = [x, x.transpose(0, -1).contiguous().transpose(0, -1)]
    if x.ndim == 4:
        layouts.append(x.contiguous(memory_format=torch.channels_last))
    for laid in layouts:
        a, b = (laid.detach().clone(memory_format=torch.preserve_format).requires_grad_() for _ in range(2))
        y, z = mine(a, *rest), theirs(b, *rest)
        assert y.shape == z.shape and y.stride() == z.stride()
        assert_same(y, z, dtype)
        dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
        y.backward(dy, retain_graph=True)
        z.backward(dy, retain_graph=True)
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)
        for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-4)
    for name, value in mine.state_dict().items():
        assert_same(value.to(dtype), theirs.state_dict()[name].to(dtype), dtype)
    again = copy.deepcopy(mine)
    assert repr(again) == repr(theirs) or type(again).__name__ in repr(again)
    assert again.state_dict().keys() == theirs.state_dict().keys()


def test_common_optimizers_and_layers_are_in_torchs_lists() -> None:
    """The lists are `optim_db` and `module_db`. The other tests of this file test only what is in these lists."""
    assert {info.optim_cls.__name__ for info in OURS} >= {
        "SGD",
        "Adam",
        "AdamW",
        "Adamax",
        "Adagrad",
        "Adadelta",
        "RMSprop",
    }
    assert {info.module_cls.__name__ for info in LAYERS} >= {"BatchNorm1d", "BatchNorm2d", "BatchNorm3d"}
    assert len(CASES) >= 90
