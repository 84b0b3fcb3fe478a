"""Tests of narrow states, stochastic rounding and master weights.

Narrow states have 16 or 8 bits per element. Master weights are float32. For a bfloat16 parameter, the master weight is
stored as the parameter and the 16 bits that the parameter lacks, which are called the low bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ml_dtypes import bfloat16

import fusedstep as fs
from fusedstep import _core
from fusedstep._base import formats
from fusedstep._base.rules import RULES
from fusedstep.optim import _reference
from support import rounding
from support.bits import Array, assert_same_bits
from support.oracle import CLASSES, needs_safetensors, variants

every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
every_isa = pytest.mark.parametrize("isa", _core.available_isas())
WIDTHS: dict[str, dict[str, Any]] = {
    "bfloat16 states": {"state_dtype": "bfloat16"},
    "bfloat16 states, to nearest": {"state_dtype": "bfloat16", "rounding": "nearest"},
    "uint8 states": {"state_dtype": "uint8"},
    "uint8 states, to nearest": {"state_dtype": "uint8", "rounding": "nearest"},
    "master weights": {"master_weights": True},
    "master weights, bfloat16 states": {"master_weights": True, "state_dtype": "bfloat16"},
    "master weights, uint8 states": {"master_weights": True, "state_dtype": "uint8"},
    "stochastic rounding": {"rounding": "stochastic"},
}
PARAMETERS = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(bfloat16), "float16": np.dtype(np.float16)}
# A scale belongs to 256 elements, and a thread takes 4,096 elements at a time.
LENGTHS = (0, 1, 7, 255, 256, 257, 600, 4500)


def draw(n: int, seed: int, dtype: Any) -> Any:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(n) * 10 ** rng.uniform(-3, 1, n)).astype(np.float32).astype(dtype)


class Tensor:
    """A parameter and its states, stored in their formats. The method `step` computes a step with NumPy."""

    def __init__(self, p: Any, number: int, states: dict[str, Any], options: dict[str, Any], rule: Any) -> None:
        self.rule, self.number, self.options = rule, number, options
        self.p, self.states = p.copy(), {n: a.copy() for n, a in states.items()}
        self.full = p.astype(np.float32)  # the float32 weights

    @property
    def names(self) -> list[str]:
        return [n for n, *_ in self.rule.states if n in self.states]

    def bits(self, step: int, stream: int, n: int) -> Array | None:
        narrow = self.options.get("state_dtype") in ("bfloat16", "uint8")
        by_default = stream > 0 and narrow
        way = self.options.get("rounding")
        if not (way == "stochastic" or (way is None and by_default)):
            return None
        return rounding.noise(rounding.key_of(self.options.get("seed", 0), self.number, step, stream), n)

    def wide(self) -> dict[str, Array]:
        result = {name: self.states[name] for name, _ in self.rule.scalars}
        for name in self.names:
            state = self.states[name]
            if state.dtype == np.uint8:
                positive = self.rule.is_positive(name)
                result[name] = formats.decode_u8(state, self.states[name + "_scale"], positive)
            else:
                result[name] = state.astype(np.float32)
        return result

    def step(self, cls: Any, g: Any, t: int, group: Any) -> None:
        wide = self.wide()
        kept = bool(self.options.get("master_weights"))
        p = self.full if kept else self.p.astype(np.float32)
        with np.errstate(all="ignore"):
            new = np.asarray(_reference.step(cls, p, g.astype(np.float32), wide, t, 0.01, group), np.float32)
        self.full = new
        bits = None if kept else self.bits(t, 0, new.size)
        self.p = self.narrow(new, self.p.dtype, bits)
        if kept and self.p.dtype == bfloat16:
            self.p = rounding.split_low(new)[0].view(bfloat16)
        for k, (name, *_) in enumerate(self.rule.states, 1):
            if name not in self.names:
                continue
            bits, target = self.bits(t, k, new.size), self.states[name]
            if target.dtype == np.uint8:
                positive = self.rule.is_positive(name)
                self.states[name], self.states[name + "_scale"] = formats.encode_u8(wide[name], positive, bits)
            else:
                self.states[name] = self.narrow(np.asarray(wide[name], np.float32), target.dtype, bits)

    @staticmethod
    def narrow(x: Array, dtype: Any, bits: Array | None) -> Any:
        if dtype == bfloat16:
            return rounding.to_bfloat16(x, bits).view(bfloat16)
        return rounding.to_float16(x, bits) if dtype == np.float16 else x


def assert_equal_to_numpy_reference(opt: fs.optim.Optimizer, tensors: list[Tensor], what: Any) -> None:
    for k, t in enumerate(tensors):
        p = opt.params[k]
        assert rounding.same_items(p, t.p), what
        for name in t.names:
            got, want = opt.state[k][name], t.states[name]
            if got.dtype == np.uint8:
                assert_same_bits(got, want, (what, name))
                assert_same_bits(opt.state[k][name + "_scale"], t.states[name + "_scale"], (what, name), any_nan=True)
            else:
                assert got.dtype == want.dtype and rounding.same_items(got, want), (what, name)
        if "low" in opt.state[k]:
            assert_same_bits(opt.state[k]["low"], rounding.split_low(t.full)[1], what)
            assert_same_bits(opt.state[k]["low_sum"], formats.low_sums(p.view(np.uint16)), what)
        if "master" in opt.state[k]:
            assert_same_bits(opt.state[k]["master"], t.full, what, any_nan=True)


def assert_three_steps_equal_to_numpy_reference(cls: Any, of_rule: Any, options: dict[str, Any], dtype: Any) -> None:
    """Step parameters of many lengths three times. Compare them and their states with the reference after each step.

    `of_rule` contains options of the update rule.
    """
    params = [draw(n, n, dtype) for n in LENGTHS]
    opt = cls(params, **{**of_rule, "lr": 0.01}, **options, seed=5)
    rule = RULES[cls.rule]
    tensors = [Tensor(p, k, dict(opt.state[k]), {**options, "seed": 5}, rule) for k, p in enumerate(params)]
    for t in (1, 2, 3):
        grads = [draw(n, 100 * t + n, dtype) for n in LENGTHS]
        opt.step(grads)
        for tensor, g in zip(tensors, grads, strict=True):
            tensor.step(cls, g, t, opt.groups[0])
        assert_equal_to_numpy_reference(opt, tensors, (of_rule, t))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("parameter", PARAMETERS)
@every_class
def test_step_with_narrow_states_or_master_weights_has_the_bits_of_the_numpy_reference(
    cls: Any, parameter: str, width: str
) -> None:
    """Each optimizer is tested with its default options, and with the last set of options that `variants` returns."""
    for of_rule in (variants(cls)[0], variants(cls)[-1]):
        assert_three_steps_equal_to_numpy_reference(cls, of_rule, WIDTHS[width], PARAMETERS[parameter])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("parameter", PARAMETERS)
def test_step_with_a_beta_of_0_has_the_bits_of_the_numpy_reference(parameter: str, width: str) -> None:
    """If one of `betas` is 0, the step does not use the fused kernels, which decode, update and encode in one loop."""
    assert_three_steps_equal_to_numpy_reference(fs.Adam, {"betas": (0.0, 0.9)}, WIDTHS[width], PARAMETERS[parameter])


@every_isa
def test_step_with_8_bit_states_has_the_bits_of_the_numpy_reference_for_many_lengths(isa: str) -> None:
    """For each length, a bfloat16 parameter with master weights takes one step with the instruction set `isa`."""
    before = _core.isa()
    fs.set_isa(isa)
    try:
        for n in (*range(0, 600, 7), 255, 256, 257, 511, 512, 513):
            p = draw(n, n, bfloat16)
            opt = fs.AdamW([p], lr=0.01, state_dtype="uint8", master_weights=True)
            tensor = Tensor(p, 0, dict(opt.state[0]), {"state_dtype": "uint8", "master_weights": True}, RULES["adam"])
            g = draw(n, n + 1, bfloat16)
            opt.step([g])
            tensor.step(fs.AdamW, g, 1, opt.groups[0])
            assert_equal_to_numpy_reference(opt, [tensor], n)
    finally:
        fs.set_isa(before)


@pytest.mark.parametrize("width", WIDTHS)
def test_step_with_narrow_states_has_the_same_bits_for_1_2_and_3_threads(width: str) -> None:
    """Four parameters of different lengths take two steps with clipped gradients."""
    sizes = [5, 70_001, 300, 50_000]
    results = []
    for threads in (1, 2, 3):
        params = [draw(n, n, bfloat16) for n in sizes]
        opt = fs.AdamW(params, lr=0.01, num_threads=threads, **WIDTHS[width])
        _core.force_threads(threads)
        try:
            for t in (1, 2):
                opt.step([draw(n, 9 * t + n, bfloat16) for n in sizes], clip_norm=1.0)
        finally:
            _core.force_threads(0)
        states = [a.tobytes() for entry in opt.state.values() for a in entry.values()]
        results.append([p.tobytes() for p in params] + states)
    assert results[0] == results[1] == results[2]


#: Pairs (options of the optimizer, options of each step).
FULL_OPTIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"weight_decay": 0.1, "l1": 0.01, "decay": "l2"}, {"clip_norm": 0.5}),
    ({"weight_decay": 0.1, "l1": 0.01, "decay": "proximal"}, {"clip_value": 0.1}),
    ({"weight_decay": 0.1, "decay": "decoupled", "ema_decay": 0.9}, {"grad_scale": 4.0}),
]


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
@every_class
def test_master_weights_and_states_have_the_bits_of_float32_training(cls: Any, half: str) -> None:
    """A 16-bit parameter with master weights and a float32 parameter take 20 steps with equal gradients."""
    for options, step in FULL_OPTIONS:
        p = draw(700, 3, PARAMETERS[half])
        full = p.astype(np.float32)
        kept = cls([p], lr=0.01, master_weights=True, **options)
        wide = cls([full], lr=0.01, **options)
        for t in range(20):
            g = draw(700, t, PARAMETERS[half])
            kept.step([g], **step)
            wide.step([g.astype(np.float32)], **step)
        if half == "bfloat16":
            assert_same_bits(rounding.join_low(p.view(np.uint16), kept.state[0]["low"]), full, options)
            assert_same_bits(p.view(np.uint16), rounding.split_low(full)[0], options)
        else:
            assert_same_bits(kept.state[0]["master"], full, options)
            assert_same_bits(p, full.astype(np.float16), options)
        for name in wide.state[0]:
            assert_same_bits(kept.state[0][name], wide.state[0][name], name)
        if wide.ema is not None and kept.ema is not None:
            assert_same_bits(kept.ema[0], wide.ema[0])


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_step_with_master_weights_starts_from_values_that_the_user_wrote_into_the_parameter(half: str) -> None:
    """The low bits (bfloat16) or master weights (float16) that belong to the old values must not be used."""
    dtype = PARAMETERS[half]
    p = draw(1000, 3, dtype)
    opt = fs.SGD([p], lr=0.01, master_weights=True)
    opt.step([draw(1000, 4, dtype)])
    written = draw(1000, 5, dtype)
    p[...] = written
    g = draw(1000, 6, dtype)
    opt.step([g])
    want = written.astype(np.float32) - np.float32(0.01) * g.astype(np.float32)
    got = rounding.join_low(p.view(np.uint16), opt.state[0]["low"]) if half == "bfloat16" else opt.state[0]["master"]
    assert_same_bits(got, want)


def test_with_master_weights_a_nan_in_a_gradient_makes_only_one_element_nan() -> None:
    """The element with the nan gradient becomes nan. All other elements of the 16-bit parameter stay finite."""
    for half in (bfloat16, np.float16):
        p = draw(300, 1, half)
        g = draw(300, 2, half)
        g[17] = np.nan
        opt = fs.AdamW([p], master_weights=True)
        for _ in range(3):
            opt.step([g])
        assert np.isnan(p[17])
        assert np.isfinite(np.delete(p, 17).astype(np.float32)).all()


def test_an_inf_in_a_gradient_makes_only_one_block_of_8_bit_states_nan() -> None:
    """The inf is in the second of three blocks. A block has at most 256 elements, which have a common scale."""
    p, g = draw(600, 1, np.float32), draw(600, 2, np.float32)
    g[300] = np.inf
    opt = fs.AdamW([p], state_dtype="uint8")
    opt.step([g])
    entry = opt.state[0]
    assert np.isnan(entry["exp_avg_scale"]).tolist() == [False, True, False]
    opt.step([draw(600, 2, np.float32)])
    assert np.isfinite(p[:256]).all()
    assert np.isnan(p[300])
    assert np.isfinite(p[512:]).all()


@pytest.mark.parametrize("number_format", ["bfloat16", "float16", "uint8", "uint8-positive"])
def test_mean_of_stochastic_roundings_is_near_the_number(number_format: str) -> None:
    """Each of 256 numbers is rounded 4,000 times.

    The case "uint8-positive" tests the 8-bit format of states that are never negative.
    """
    n = 256
    rng = np.random.default_rng(0)
    x = np.abs(rng.standard_normal(n)).astype(np.float32) * np.float32(10) ** rng.uniform(-2, 0, n).astype(np.float32)
    draws = 4000
    total = np.zeros(n)
    for k in range(draws):
        bits = rounding.noise(rounding.key_of(1, 0, k, 1), n)
        if number_format == "bfloat16":
            total += rounding.from_bfloat16(rounding.to_bfloat16(x, bits))
        elif number_format == "float16":
            total += rounding.to_float16(x, bits)
        else:
            positive = number_format == "uint8-positive"
            total += formats.decode_u8(*formats.encode_u8(x, positive, bits), positive)
    # The error of one rounding is at most 1/128 (bfloat16), 1/1024 (float16) or 1/8 (8 bits) of the number.
    unit = {"bfloat16": 2**-7, "float16": 2**-10}.get(number_format, 2**-3)
    z = (total / draws - x) / (x * unit) * np.sqrt(draws)
    assert np.abs(z).max() < 5 and abs(z.mean()) < 5 / np.sqrt(n)


def test_second_moments_in_bfloat16_decay_only_if_rounded_stochastically() -> None:
    """After one gradient of 1, the second moment is 0.001. Then follow 1,000 gradients of 0.

    In exact arithmetic, they multiply the second moment by 0.999^1000. With rounding to nearest, it stays too large.
    """

    def after(way: str) -> float:
        p = np.zeros(4096, np.float32)
        opt = fs.Adam([p], state_dtype="bfloat16", rounding=way)
        opt.step([np.ones(4096, np.float32)])
        for _ in range(1000):
            opt.step([np.zeros(4096, np.float32)])
        return float(opt.state[0]["exp_avg_sq"].astype(np.float64).mean())

    exact = 0.001 * 0.999**1000
    assert abs(after("stochastic") / exact - 1) < 0.02
    assert after("nearest") > 2 * exact


def test_8_bit_second_moment_of_a_small_gradient_is_not_rounded_to_0() -> None:
    """Two elements of the gradient are 1e6 and 1e-9, and their states have a common scale."""
    g = np.zeros(256, np.float32)
    g[0], g[1] = 1e6, 1e-9
    p = np.zeros(256, np.float32)
    opt = fs.Adam([p], state_dtype="uint8", eps=1e-12)
    for _ in range(50):
        opt.step([g])
    assert opt.state[0]["exp_avg_sq"][1] > 0
    assert np.abs(p).max() < 0.1, "the steps must stay small"
    assert not p[2:].any(), "elements whose gradients are 0 must not change"


ORDERS = {"C": np.ascontiguousarray, "F": np.asfortranarray}


@needs_safetensors
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("parameter", ["float32", "bfloat16"])
def test_resumed_training_with_narrow_states_has_the_bits_of_uninterrupted_training(
    parameter: str, width: str, order: str, tmp_path: Any
) -> None:
    """The state is saved after three of six steps, and a new optimizer loads it from a file or as a state dict."""
    start = ORDERS[order](draw(37 * 29, 1, PARAMETERS[parameter]).reshape(37, 29))
    grads = [draw(37 * 29, t, PARAMETERS[parameter]).reshape(37, 29) for t in range(6)]
    uninterrupted, p = start.copy("K"), start.copy("K")
    going_on, first = (fs.AdamW([a], lr=0.01, **WIDTHS[width]) for a in (uninterrupted, p))
    for g in grads[:3]:
        going_on.step([g])
        first.step([g])
    first.save(tmp_path / "state")
    for load in (lambda o: o.load(tmp_path / "state"), lambda o: o.load_state_dict(first.state_dict())):
        q = p.copy("K")
        second = fs.AdamW([q], lr=0.01, **WIDTHS[width])
        load(second)
        # `third` loads the state of `going_on`, which has not been saved to a file.
        r = uninterrupted.copy("K")
        third = fs.AdamW([r], lr=0.01, **WIDTHS[width])
        third.load_state_dict(going_on.state_dict())
        for g in grads[3:]:
            second.step([g])
            third.step([g])
        assert q.tobytes() == r.tobytes()
    for g in grads[3:]:
        going_on.step([g])
    assert q.tobytes() == uninterrupted.tobytes()


@pytest.mark.parametrize("to", [None, "bfloat16", "uint8"])
@pytest.mark.parametrize("of", [None, "bfloat16", "uint8"])
def test_states_load_into_optimizers_with_another_state_dtype_and_layout(of: str | None, to: str | None) -> None:
    """The states of an optimizer with `state_dtype=of` are loaded by an optimizer with `state_dtype=to`.

    The saved and the loaded states are converted to float32, and agree within the rounding errors of the two dtypes.
    """
    start = draw(37 * 29, 1, np.float32).reshape(37, 29)
    first = fs.AdamW([np.asfortranarray(start)], state_dtype=of)
    for t in range(3):
        first.step([draw(37 * 29, t, np.float32).reshape(37, 29)])
    second = fs.AdamW([start.copy()], state_dtype=to)
    second.load_state_dict(first.state_dict())
    wide = [fs.AdamW([start.copy()]) for _ in range(2)]
    for opt, source in zip(wide, (first, second), strict=True):
        opt.load_state_dict(source.state_dict())
    for name in ("exp_avg", "exp_avg_sq"):
        a, b = (opt.state[0][name].astype(np.float64) for opt in wide)
        unit = 2**-4 if "uint8" in (of, to) else 2**-8 if "bfloat16" in (of, to) else 0
        assert (np.abs(a - b) <= unit * np.abs(a) + unit * np.abs(a).max() / 2**14).all()


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "unknown state_dtype": (
        np.float32,
        {"state_dtype": "int4"},
        r'state_dtype must be "float32", "bfloat16", "uint8" or None; got \'int4\'',
    ),
    "state_dtype as a type": (np.float32, {"state_dtype": np.float32}, "state_dtype must be .* got <class"),
    "state_dtype of float64": (np.float64, {"state_dtype": "uint8"}, "state_dtype must be None for float64 parameters"),
    "rounding of float64": (np.float64, {"rounding": "stochastic"}, "rounding must be .* for float64 parameters"),
    "rounding up": (np.float32, {"rounding": "up"}, r'rounding must be "nearest", "stochastic" or None; got \'up\''),
    "master_weights as a number": (bfloat16, {"master_weights": 1}, "master_weights must be True or False; got 1"),
    "negative seed": (np.float32, {"seed": -1}, r"seed must be at least 0 and below 2\*\*64; got -1"),
    "fraction as seed": (np.float32, {"seed": 0.5}, "seed must be a whole number; got 0.5"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_optimizer_refuses_wrong_options_for_widths_and_rounding(case: str) -> None:
    """The options are `state_dtype`, `rounding`, `master_weights` and `seed`."""
    dtype, options, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=f"^AdamW: .*{message}"):
        fs.AdamW([np.zeros(3, dtype)], **options)


def test_state_dtype_of_a_group_cannot_be_changed() -> None:
    opt = fs.AdamW([np.zeros(3, np.float32)])
    with pytest.raises(ValueError, match="state_dtype"):
        opt.groups[0]["state_dtype"] = "uint8"


@pytest.mark.parametrize("fault", ["int8", "no scales", "too few scales"])
def test_load_state_dict_refuses_8_bit_states_with_wrong_dtype_or_scales(fault: str) -> None:
    """An 8-bit state must be uint8, with one scale for each block of 256 elements. A refused load changes no state."""
    opt = fs.AdamW([draw(600, 1, np.float32)], state_dtype="uint8")
    opt.step([draw(600, 2, np.float32)])
    saved = opt.state_dict()
    entry = saved["state"][0]
    if fault == "int8":
        entry["exp_avg"] = entry["exp_avg"].astype(np.int8)
    elif fault == "no scales":
        del entry["exp_avg_scale"]
    else:
        entry["exp_avg_scale"] = entry["exp_avg_scale"][:2]
    before = opt.state[0]["exp_avg"].tobytes()
    with pytest.raises((TypeError, ValueError), match=r"^AdamW.load_state_dict: state\[0\]"):
        opt.load_state_dict(saved)
    assert opt.state[0]["exp_avg"].tobytes() == before


def test_groups_can_have_different_state_dtypes() -> None:
    a, b = draw(600, 1, np.float32), draw(3, 2, np.float32)
    opt = fs.AdamW([{"params": [a], "state_dtype": "uint8"}, {"params": [b]}])
    opt.step([draw(600, 3, np.float32), draw(3, 4, np.float32)])
    assert opt.state[0]["exp_avg"].dtype == np.uint8
    assert opt.state[1]["exp_avg"].dtype == np.float32


def test_float16_parameter_is_its_master_weight_rounded_to_nearest() -> None:
    """With the option `rounding="stochastic"`, the parameter is still rounded to nearest.

    The master weight stays near a float32 parameter that takes the same steps.
    """
    p = draw(1000, 1, np.float16)
    full = p.astype(np.float32)
    kept, wide = fs.AdamW([p], master_weights=True, rounding="stochastic"), fs.AdamW([full])
    for t in range(5):
        g = draw(1000, t, np.float16)
        kept.step([g])
        wide.step([g.astype(np.float32)])
    assert np.abs(kept.state[0]["master"] - full).max() < 0.01
    assert_same_bits(p, kept.state[0]["master"].astype(np.float16))


def test_float16_states_can_be_loaded_by_an_optimizer_with_float32_states() -> None:
    """By default, the states of a float16 parameter are float16. With master weights, they are float32."""
    first = fs.AdamW([draw(300, 1, np.float16)])
    first.step([draw(300, 2, np.float16)])
    second = fs.AdamW([draw(300, 1, np.float16)], master_weights=True)
    second.load_state_dict(first.state_dict())
    assert_same_bits(second.state[0]["exp_avg"], first.state[0]["exp_avg"].astype(np.float32))


@pytest.mark.parametrize("way", ["assigned", "loaded"])
def test_option_rounding_stochastic_is_refused_for_float64_parameters(way: str) -> None:
    """The option is assigned to a group, or is in a state dict that is loaded."""
    p = np.zeros(3)
    optimizer = fs.AdamW([{"params": [p], "lr": 0.1}])
    saved = optimizer.state_dict()
    saved["groups"][0]["rounding"] = "stochastic"
    with pytest.raises(ValueError, match=r'groups\[0\]: rounding must be "nearest" or None for float64 parameters'):
        if way == "assigned":
            optimizer.groups[0]["rounding"] = "stochastic"
        else:
            optimizer.load_state_dict(saved)
    assert optimizer.groups[0]["rounding"] is None


@pytest.mark.parametrize("wrong", [None, 3, [1], np.zeros(2, np.int16), np.zeros(3)])
@pytest.mark.parametrize("name", ["low", "low_sum", "exp_avg", "exp_avg_scale"])
def test_load_state_dict_refuses_narrow_states_and_low_bits_of_a_wrong_type_or_shape(name: str, wrong: Any) -> None:
    """`low` has the low bits of the parameter's float32 weights, and `low_sum` has checksums of the parameter.

    `exp_avg` has 8-bit numbers, and `exp_avg_scale` has the scales of `exp_avg`.
    """
    p = np.zeros(3, bfloat16)
    optimizer = fs.AdamW([p], master_weights=True, state_dtype="uint8")
    saved = optimizer.state_dict()
    saved["state"][0] = {**saved["state"][0], name: wrong}
    with pytest.raises((TypeError, ValueError), match=rf"AdamW.load_state_dict: state\[0\]\['{name}'\] must be"):
        optimizer.load_state_dict(saved)


def test_float32_number_is_restored_from_its_two_16_bit_halves() -> None:
    """The test includes special numbers: nan of both signs, a signalling nan, and inf."""
    bits = np.random.default_rng(0).integers(0, 2**32, 10_000, np.uint64).astype(np.uint32)
    numbers = np.concatenate([bits, [0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x7F800000]]).astype(np.uint32)
    high, low = formats.halves_of(numbers.view(np.float32))
    back = ((high.astype(np.uint32) << 16) + low.astype(np.int32).view(np.uint32)).view(np.float32)
    np.testing.assert_array_equal(back, numbers.view(np.float32))
    is_nan = np.isnan(numbers.view(np.float32))
    assert np.isnan(high.view(bfloat16)[is_nan].astype(np.float32)).all(), "the high half of a nan must be nan"
