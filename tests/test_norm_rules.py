"""LAMB and LARS use norms of whole parameters. Threads, strides and other parameters do not change a step's bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.optim import _reference
from support.bits import assert_same_bits, numbers
from support.machines import MACHINES, SERIAL, running
from support.oracle import STAGES

every_class = pytest.mark.parametrize("cls", [fs.LAMB, fs.LARS])
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SIZES = [1, 9001, 0, 17, 4096, 130, 5000]
OPTIONS: dict[Any, list[dict[str, Any]]] = {
    fs.LAMB: [{}, {"betas": (0.8, 0.95), "eps": 0.01}, {"adapt": False}],
    fs.LARS: [{}, {"momentum": 0.7, "trust_coefficient": 0.1}, {"adapt": False}, {"momentum": 0.0}],
}


@every_dtype
@pytest.mark.parametrize("stages", STAGES)
@every_class
def test_lamb_and_lars_have_the_bits_of_their_numpy_references(
    cls: Any, stages: str, dtype: Any, rng: np.random.Generator
) -> None:
    """Parameters, states and averages are compared after three steps.

    `stages` is the name of a set of options. For example, the set "clip_value" has only the option `clip_value`.
    """
    around, of_step = STAGES[stages]
    known = {k: v for k, v in of_step.items() if k in ("clip_value", "decay_scale")}
    thorough = stages in ("plain", "decoupled-all")
    for k, options in enumerate(OPTIONS[cls][: None if thorough else 1]):
        options = {"lr": 0.3, **options, **around}
        start = [numbers(rng, n, dtype) for n in SIZES]
        grads = [[numbers(rng, n, dtype) for n in SIZES] for _ in range(3)]
        want = [p.copy() for p in start]
        opt = cls([p.copy() for p in start], **options)
        states = [{n: a.copy() for n, a in s.items()} for s in opt.state.values()]
        averages = [p.copy() for p in start]
        group = opt.groups[0]
        for t, given in enumerate(grads, 1):
            lr = of_step.get("lr", group["lr"](t) if callable(group["lr"]) else group["lr"])
            factor = 1.0 / of_step.get("grad_scale", 1.0)
            for i, g in enumerate(given):
                with np.errstate(all="ignore"):
                    want[i] = _reference.step(cls, want[i], g, states[i], t, lr, group, factor=factor, **known)
                    averages[i] = _reference.average(averages[i], want[i], options.get("ema_decay") or 0.0)
        for machine in MACHINES if thorough and k == 0 else SERIAL[:1]:
            got = [p.copy() for p in start]
            with running(machine):
                opt = cls(got, **options)
                for given in grads:
                    opt.step([g.copy() for g in given], **of_step)
            for i, p in enumerate(got):
                assert_same_bits(p, want[i], (machine, i, options), any_nan=True)
                for name, a in opt.state[i].items():
                    assert_same_bits(a, states[i][name], (machine, i, name), any_nan=True)
                if opt.ema is not None:
                    assert_same_bits(opt.ema[i], averages[i], (machine, i, "ema"), any_nan=True)


@every_class
def test_lamb_and_lars_steps_do_not_depend_on_other_parameters(cls: Any, rng: np.random.Generator) -> None:
    p, g = rng.standard_normal((2, 9001)).astype(np.float32)
    alone, beside = p.copy(), p.copy()
    cls([alone]).step([g])
    cls([np.ones(777, np.float32), beside]).step([np.ones(777, np.float32), g])
    assert alone.tobytes() == beside.tobytes()


@every_class
def test_strided_or_16_bit_gradients_give_the_same_step_as_contiguous_float32_gradients(
    cls: Any, rng: np.random.Generator
) -> None:
    p, g = rng.standard_normal((2, 300, 40)).astype(np.float32)
    plain, strided, half = p.copy(), p.copy(), p.copy()
    rounded = g.astype(np.float16)
    cls([plain]).step([g])
    cls([strided]).step([np.asfortranarray(g)])
    assert plain.tobytes() == strided.tobytes()
    cls([half]).step([rounded])
    want = p.copy()
    cls([want]).step([rounded.astype(np.float32)])
    assert half.tobytes() == want.tobytes()


def test_norm_of_a_lamb_step_is_lr_times_the_norm_of_the_parameter(rng: np.random.Generator) -> None:
    """If the parameter is 0, each element changes by about lr."""
    p, g = rng.standard_normal((2, 1000))
    for scale in (1.0, 1e-3):
        moved, size = scale * p, float(np.linalg.norm(scale * p))
        fs.LAMB([moved], lr=0.1).step([g])
        assert np.linalg.norm(moved - scale * p) == pytest.approx(0.1 * size, rel=1e-10)
    zero = np.zeros(10)
    fs.LAMB([zero], lr=0.1).step([np.ones(10)])
    np.testing.assert_allclose(zero, -0.1, rtol=1e-5)


@pytest.mark.torch
@every_class
def test_lamb_and_lars_steps_have_the_same_bits_for_tensors_and_arrays(
    cls: Any, torch: Any, rng: np.random.Generator
) -> None:
    """Three steps with clipping are compared."""
    import fusedstep.torch

    arrays = [rng.standard_normal(s).astype(np.float32) for s in ((70, 90), (3,))]
    tensors = [torch.tensor(a).requires_grad_() for a in arrays]
    arrays_opt, opt = cls(arrays, lr=0.01), getattr(fusedstep.torch, cls.__name__)(tensors, lr=0.01)
    for _ in range(3):
        grads = [rng.standard_normal(a.shape).astype(np.float32) for a in arrays]
        arrays_opt.step(grads, clip_norm=1.0)
        opt.clip_norm = 1.0
        for t, g in zip(tensors, grads, strict=True):
            t.grad = torch.tensor(g)
        opt.step()
    for a, t in zip(arrays, tensors, strict=True):
        assert a.tobytes() == t.detach().numpy().tobytes()
