"""Tests of narrow states and master weights in fusedstep.torch.

Narrow states have 16 or 8 bits. With master weights, a bfloat16 parameter is the upper half of a float32 weight, and a
state contains the lower 16 bits, which are called the low bits.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest

import fusedstep as fs
from fusedstep._base.rules import RULES
from support.torch_cases import every_optimizer, ours

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

WIDTHS: dict[str, dict[str, Any]] = {
    "bfloat16": {"state_dtype": "bfloat16"},
    "uint8": {"state_dtype": "uint8"},
    "master weights": {"master_weights": True},
    "master weights, uint8": {"master_weights": True, "state_dtype": "uint8"},
    "stochastic": {"rounding": "stochastic"},
}
every_width = pytest.mark.parametrize("width", WIDTHS)
DTYPES = ("float32", "bfloat16", "float16")


def draw(shape: tuple[int, ...], seed: int, dtype: str) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(getattr(torch, dtype))


def parameters(dtype: str) -> list[Any]:
    shapes = [(), (7,), (37, 29), (4, 3, 3, 3)]
    made = [torch.nn.Parameter(draw(s, k, dtype)) for k, s in enumerate(shapes)]
    made[3].data = made[3].data.to(memory_format=torch.channels_last)
    return made


def step(optimizer: Any, params: list[Any], t: int) -> None:
    for k, p in enumerate(params):
        p.grad = draw(tuple(p.shape), 1000 * t + k, str(p.dtype).removeprefix("torch."))
    optimizer.step()


def as_numpy(t: Any) -> Any:
    if t.dtype == torch.bfloat16:
        return t.detach().view(torch.int16).numpy().view("bfloat16")
    return t.detach().numpy()


def bits_of(params: list[Any], optimizer: Any) -> list[bytes]:
    tensors = [*params, *(v for p in params for _, v in sorted(optimizer.state[p].items()))]
    return [t.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes() for t in tensors]


@every_width
@pytest.mark.parametrize("dtype", DTYPES)
@every_optimizer
def test_steps_give_the_same_bits_as_the_numpy_api(name: str, dtype: str, width: str) -> None:
    """Parameters and states are compared, except states that are scalars."""
    import ml_dtypes  # noqa: F401 (NumPy then knows the name "bfloat16")

    params = parameters(dtype)
    arrays = [as_numpy(p).copy("K") for p in params]
    optimizer = ours(name)(params, lr=0.01, seed=3, **WIDTHS[width])
    options = {k: v for k, v in optimizer.param_groups[0].items() if k in fs.optim.registry[name].options}
    options = {k: v for k, v in options.items() if v is not None}
    known = fs.optim.registry[name](arrays, **{**options, "seed": 3, **WIDTHS[width]})
    for t in (1, 2):
        step(optimizer, params, t)
        known.step([as_numpy(p.grad) for p in params])
    scalars = {state for state, _ in RULES[optimizer.kernel.rule].scalars}
    for k, p in enumerate(params):
        assert as_numpy(p).tobytes() == arrays[k].tobytes()
        for state, array in known.state[k].items():
            if state in scalars:  # in fusedstep.torch, these are float32
                continue
            got = optimizer.state[p][state]
            assert str(got.dtype).removeprefix("torch.") == str(array.dtype), state
            assert as_numpy(got).tobytes() == array.tobytes(), state


def through_torch_save(source: Any, target: Any, tmp_path: Any) -> None:
    tmp_path.mkdir()
    torch.save(source[1].state_dict(), tmp_path / "state.pt")
    target[1].load_state_dict(torch.load(tmp_path / "state.pt"))


def through_dcp(source: Any, target: Any, tmp_path: Any) -> None:
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

    dcp.save({"o": get_optimizer_state_dict(*source)}, checkpoint_id=str(tmp_path / "dcp"))
    state = {"o": get_optimizer_state_dict(*target)}
    dcp.load(state, checkpoint_id=str(tmp_path / "dcp"))
    set_optimizer_state_dict(*target, state["o"])


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.parametrize("way", [through_torch_save, through_dcp])
@every_width
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_resumed_training_has_the_bits_of_uninterrupted_training(
    dtype: str, width: str, way: Any, tmp_path: Any
) -> None:
    for name in ("AdamW", "SGD"):
        options = {"lr": 0.01, **WIDTHS[width], **({"momentum": 0.9} if name == "SGD" else {})}
        models = [torch.nn.ParameterList(parameters(dtype)) for _ in range(2)]
        (params, others), both = map(list, models), [(m, ours(name)(m.parameters(), **options)) for m in models]
        for t in (1, 2):
            step(both[0][1], params, t)
        models[1].load_state_dict(models[0].state_dict())
        for p in params:
            p.grad = None
        way(*both, tmp_path / name)
        for t in (3, 4):
            step(both[0][1], params, t)
            step(both[1][1], others, t)
        assert bits_of(params, both[0][1]) == bits_of(others, both[1][1])


@every_width
def test_a_step_of_a_deep_copy_gives_the_same_bits_as_a_step_of_the_original(width: str) -> None:
    model = torch.nn.Linear(40, 20, dtype=torch.bfloat16)
    optimizer = ours("AdamW")(model.parameters(), lr=0.01, **WIDTHS[width])
    step(optimizer, list(model.parameters()), 1)
    other, copied = copy.deepcopy((model, optimizer))
    for m, o in ((model, optimizer), (other, copied)):
        step(o, list(m.parameters()), 2)
    assert bits_of(list(model.parameters()), optimizer) == bits_of(list(other.parameters()), copied)


@pytest.mark.parametrize("to", ["float32", "bfloat16", "uint8"])
@pytest.mark.parametrize("of", [None, "bfloat16", "uint8"])
def test_loading_states_into_other_dtypes_causes_only_small_rounding_errors(of: str | None, to: str) -> None:
    """`of` is the `state_dtype` of the saved states, and `to` is that of the optimizer that loads them.

    For the comparison, the saved and the loaded states are converted to float32.
    """
    params = parameters("float32")
    first = ours("AdamW")(params, state_dtype=of)
    step(first, params, 1)
    second = ours("AdamW")(parameters("float32"), state_dtype=to)
    second.load_state_dict(first.state_dict())
    third = ours("AdamW")(parameters("float32"))
    third.load_state_dict(second.state_dict())
    back = ours("AdamW")(parameters("float32"))
    back.load_state_dict(first.state_dict())
    for p, q, r in zip(
        second.param_groups[0]["params"], third.param_groups[0]["params"], back.param_groups[0]["params"], strict=True
    ):
        assert second.state[p]["exp_avg"].dtype == getattr(torch, to)
        a, b = third.state[q]["exp_avg"], back.state[r]["exp_avg"]
        unit = 2**-4 if "uint8" in (of, to) else 2**-8
        assert ((a - b).abs() <= unit * b.abs() + unit * b.abs().max() / 2**14).all()


def test_low_bits_are_used_if_the_model_is_loaded_after_its_optimizer() -> None:
    """Low bits are the lower 16 bits of a float32 weight. The bfloat16 parameter lacks them. A state contains them."""
    params = parameters("bfloat16")
    optimizer = ours("AdamW")(params, lr=0.01, master_weights=True)
    step(optimizer, params, 1)
    others = parameters("bfloat16")
    resumed = ours("AdamW")(others, lr=0.01, master_weights=True)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for p, q in zip(params, others, strict=True):
        q.data.copy_(p.data)
    step(optimizer, params, 2)
    step(resumed, others, 2)
    assert bits_of(params, optimizer) == bits_of(others, resumed)


def test_low_bits_are_not_used_if_other_values_are_copied_into_the_model() -> None:
    """Low bits are the lower 16 bits of a float32 weight. The bfloat16 parameter lacks them.

    The next step equals the first step of a new optimizer.
    """
    params = parameters("bfloat16")
    optimizer = ours("SGD")(params, lr=0.01, master_weights=True)
    step(optimizer, params, 1)
    fresh = parameters("bfloat16")
    with torch.no_grad():
        for p, q in zip(params, fresh, strict=True):
            p.copy_(q)
    other = ours("SGD")(fresh, lr=0.01, master_weights=True)
    step(optimizer, params, 2)
    step(other, fresh, 2)
    for p, q in zip(params, fresh, strict=True):
        assert torch.equal(p, q) and torch.equal(optimizer.state[p]["low"], other.state[q]["low"])


def test_updating_parameters_one_by_one_gives_the_same_bits_as_updating_all_in_one_step() -> None:
    """The method `step_one` updates one parameter, and `step` updates all."""
    params, others = parameters("bfloat16"), parameters("bfloat16")
    whole = ours("AdamW")(params, lr=0.01, state_dtype="uint8", rounding="stochastic")
    single = ours("AdamW")(others, lr=0.01, state_dtype="uint8", rounding="stochastic")
    for t in (1, 2):
        step(whole, params, t)
        for k, p in enumerate(others):
            p.grad = draw(tuple(p.shape), 1000 * t + k, "bfloat16")
            single.step_one(p)
    assert bits_of(params, whole) == bits_of(others, single)


def test_state_dtype_accepts_a_dtype_of_torch() -> None:
    params = parameters("float32")
    optimizer = ours("AdamW")(params, state_dtype=torch.bfloat16)
    step(optimizer, params, 1)
    assert optimizer.state[params[2]]["exp_avg"].dtype == torch.bfloat16


REFUSED = {
    "int4": ({"state_dtype": "int4"}, "float32", "state_dtype must be .* got 'int4'"),
    "float64 parameters": ({"state_dtype": "uint8"}, "float64", "state_dtype must be None for float64 parameters"),
    "too large seed": ({"seed": 2**64}, "float32", r"seed must be at least 0 and below 2\*\*64"),
    "master_weights as text": ({"master_weights": "yes"}, "float32", "master_weights must be True or False"),
    "unknown rounding": ({"rounding": "down"}, "float32", "rounding must be .* got 'down'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_values_of_options_are_refused(case: str) -> None:
    """The options are state_dtype, seed, master_weights and rounding."""
    options, dtype, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=f"^AdamW: .*{message}"):
        ours("AdamW")([torch.nn.Parameter(torch.zeros(3, dtype=getattr(torch, dtype)))], **options)


@pytest.mark.parametrize("fault", ["no scales", "too few scales", "wrong shape"])
def test_8_bit_states_with_wrong_scales_or_shapes_are_refused(fault: str) -> None:
    """An 8-bit state has one scale for each block of 256 elements."""
    params = parameters("float32")
    optimizer = ours("AdamW")(params, state_dtype="uint8")
    step(optimizer, params, 1)
    saved = optimizer.state_dict()
    entry = saved["state"][2] = dict(saved["state"][2])
    if fault == "no scales":
        del entry["exp_avg_scale"]
    elif fault == "too few scales":
        entry["exp_avg_scale"] = entry["exp_avg_scale"][:1]
    else:
        entry["exp_avg"] = entry["exp_avg"][:3]
    with pytest.raises(ValueError, match=r"AdamW: state 'exp_avg\w*' of params\[2\] must be"):
        ours("AdamW")(parameters("float32"), state_dtype="uint8").load_state_dict(saved)


def test_options_of_a_group_are_kept_if_a_checkpoint_lacks_them() -> None:
    """Options that the checkpoint contains are loaded, except `state_dtype`, which is always kept."""
    params, plain = parameters("float32"), parameters("float32")
    own = {"state_dtype": "uint8", "rounding": "nearest", "l1": 0.25}
    optimizer = ours("AdamW")([{"params": params[:2]}, {"params": params[2:], **own}], l1=0.5)
    other = torch.optim.AdamW([{"params": plain[:2]}, {"params": plain[2:]}])
    step(other, plain, 1)
    optimizer.load_state_dict(other.state_dict())
    first, second = optimizer.param_groups
    assert first["l1"] == 0.5 and "state_dtype" not in first
    assert {name: second[name] for name in own} == own
    assert optimizer.state[params[2]]["exp_avg"].dtype == torch.uint8
    saved = optimizer.state_dict()
    saved["param_groups"][1] |= {"rounding": "stochastic", "state_dtype": "bfloat16"}
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[1]["rounding"] == "stochastic", "a load must set options that were saved"
    assert optimizer.param_groups[1]["state_dtype"] == "uint8", "a load must keep the state_dtype of the optimizer"


def test_loaded_states_without_a_step_count_get_the_count_1() -> None:
    """SGD has a step count only with stochastic rounding. After the step that follows the load, the count is 2.

    float32 numbers are not rounded, so SGD gives equal parameters with and without stochastic rounding.
    """
    options = {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}
    params, others = parameters("float32"), parameters("float32")
    plain, known = (ours("SGD")(p, **options) for p in (params, others))
    step(plain, params, 1)
    step(known, others, 1)
    assert "step" not in plain.state[params[0]]
    random = ours("SGD")(params, rounding="stochastic", **options)
    random.load_state_dict(plain.state_dict())
    step(random, params, 2)
    step(known, others, 2)
    for p, q in zip(params, others, strict=True):
        assert random.state[p]["step"] == 2
        assert torch.equal(p, q) and torch.equal(random.state[p]["momentum_buffer"], known.state[q]["momentum_buffer"])


def test_loaded_low_bits_without_checksums_are_used_in_the_next_step() -> None:
    """Low bits are the lower 16 bits of a float32 weight. The bfloat16 parameter lacks them.

    The optimizer keeps the low bits in the state "low". The state "low_sum" has checksums of the parameter. The
    checksums show whether other code has changed the parameter.
    """
    params, others = parameters("bfloat16"), parameters("bfloat16")
    optimizer, resumed = (ours("AdamW")(p, lr=0.01, master_weights=True) for p in (params, others))
    step(optimizer, params, 1)
    saved = copy.deepcopy(optimizer.state_dict())
    for entry in saved["state"].values():
        del entry["low_sum"]
    resumed.load_state_dict(saved)
    for p, q in zip(params, others, strict=True):
        q.data.copy_(p.data)  # the model is loaded after its optimizer
    step(optimizer, params, 2)
    step(resumed, others, 2)
    assert bits_of(params, optimizer) == bits_of(others, resumed)


BAD_STATES: dict[str, tuple[str, Any, str]] = {
    "low of another dtype": ("low", lambda t: t.int(), r"torch.int16 \(37, 29\)"),
    "low of another shape": ("low", lambda t: t[:3], r"torch.int16 \(37, 29\)"),
    "low that is a number": ("low", lambda t: 3, r"torch.int16 \(37, 29\); got 3"),
    "too few checksums": ("low_sum", lambda t: t[:1], r"torch.int32 \(5,\)"),
    "checksums of another dtype": ("low_sum", lambda t: t.float(), r"torch.int32 \(5,\)"),
    "exp_avg of another shape": ("exp_avg", lambda t: t[:3], r"torch.bfloat16 \(37, 29\)"),
    "exp_avg of integers": ("exp_avg", lambda t: t.long(), r"torch.bfloat16 \(37, 29\)"),
}


@pytest.mark.parametrize("case", BAD_STATES)
def test_unsuitable_states_are_refused_by_load_state_dict_and_step(case: str) -> None:
    """A refused call changes neither the parameters nor the valid states."""
    name, spoil, need = BAD_STATES[case]
    params = parameters("bfloat16")
    optimizer = ours("AdamW")(params, lr=0.01, master_weights=True, state_dtype="bfloat16")
    step(optimizer, params, 1)
    before = bits_of(params, optimizer)
    saved = optimizer.state_dict()
    good = saved["state"][2]
    saved["state"][2] = {**good, name: spoil(good[name])}
    with pytest.raises(ValueError, match=rf"AdamW: state '{name}' of params\[2\] must be {need}"):
        optimizer.load_state_dict(saved)
    assert bits_of(params, optimizer) == before
    kept, optimizer.state[params[2]][name] = good[name], spoil(good[name])
    with pytest.raises((TypeError, ValueError), match="AdamW"):
        step(optimizer, params, 2)
    optimizer.state[params[2]][name] = kept
    assert bits_of(params, optimizer) == before


@pytest.mark.parametrize("name", ["exp_avg", "low"])
def test_states_on_the_device_meta_are_refused(name: str) -> None:
    params = parameters("bfloat16")
    optimizer = ours("AdamW")(params, lr=0.01, master_weights=True, state_dtype="bfloat16")
    step(optimizer, params, 1)
    optimizer.state[params[2]][name] = optimizer.state[params[2]][name].to("meta")
    with pytest.raises(ValueError, match=rf"state '{name}' of params\[2\] must be .* with dense memory; got "):
        step(optimizer, params, 2)
