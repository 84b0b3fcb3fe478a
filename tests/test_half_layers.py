"""Dropout and batch norm of float16 and bfloat16 have the bits of float32 results, rounded once to nearest even.

In the names of these tests, "half" means float16 and bfloat16.
"""

from __future__ import annotations

import itertools
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from ml_dtypes import bfloat16

import fusedstep as fs
from fusedstep.ops import _philox_reference as reference
from support.bits import KEY, Array, assert_same_bits, values
from support.fences import Fenced, guarded, untouched_around
from support.machines import BACKENDS, MACHINES, SERIAL, machines, running
from support.norms import Case

HALVES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(bfloat16)}
every_half = pytest.mark.parametrize("half", HALVES.values(), ids=str)
pytestmark = pytest.mark.filterwarnings(
    "ignore:invalid value|overflow:RuntimeWarning"
)  # warnings of NumPy's conversions

# Dropout


def dropped(x: Array, p: float, offset: int, mode: str = "inverted") -> Array:
    """Return dropout of x as the NumPy reference computes it in float32, rounded to the dtype of x."""
    wide = x.astype(np.float32)
    kept = reference.mask(KEY.seed, KEY.stream, offset, x.size, p).reshape(x.shape)
    y = reference.dropout(wide, kept, p) if mode == "inverted" else np.where(kept, wide, np.float32(0))
    return y.astype(x.dtype)


@every_half
@pytest.mark.parametrize("offset", [0, 7, 505, 2**35 - 600, 2**63 - 1])
def test_half_dropout_has_the_bits_of_the_rounded_numpy_reference(half: Any, offset: int) -> None:
    """`half` is float16 or bfloat16. The reference computes in float32. Nothing is written outside the output."""
    for n in (0, 1, 15, 16, 17, 511, 513, 2047, 2048, 2049, 5000, 100_003):
        x = values(n, half)
        for machine in machines((4,) if n > 5000 else (1,)):
            out, memory = guarded(n, half, n % 5)
            assert fs.dropout(x, 0.3, KEY, offset=offset, out=out) is out
            assert_same_bits(out, dropped(x, 0.3, offset), (machine, n), any_nan=True)
            assert untouched_around(out, memory), (machine, n)


@every_half
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("mode", ["inverted", "vanilla"])
def test_half_dropout_has_the_bits_of_rounded_float32_results(half: Any, p: float, mode: str) -> None:
    """`half` is float16 or bfloat16. The test runs the backward pass, prediction, and dropout in place.

    In prediction, vanilla dropout multiplies by 1 - p, and inverted dropout by 1.
    """
    x = values(3001, half)
    want = dropped(x, p, 3, mode)
    assert_same_bits(fs.dropout_backward(x, p, KEY, mode, 3), want, any_nan=True)
    predicted = fs.dropout(x, p, KEY, mode, training=False)
    kept = np.float32(1 - p) if mode == "vanilla" else np.float32(1)
    assert_same_bits(predicted, (x.astype(np.float32) * kept).astype(half), any_nan=True)
    fs.dropout(x, p, KEY, mode, 3, out=x)
    assert_same_bits(x, want, any_nan=True)


@every_half
@pytest.mark.parametrize("shape", [(40, 1, 1, 1), (1, 7, 1, 1), (40, 7, 1, 33), (1, 1, 11, 33)])
def test_half_dropout_with_a_broadcast_mask_has_the_bits_of_rounded_float32_results(
    half: Any, shape: tuple[int, ...]
) -> None:
    """`half` is float16 or bfloat16. `shape` is the shape of the mask, which is broadcast to the shape of x.

    Dropout in place on an array in Fortran order gives the same result. test_dropout.py checks the float32 results.
    """
    x = np.random.default_rng(1).normal(size=(40, 7, 11, 33)).astype(half)
    want = fs.dropout(x.astype(np.float32), 0.4, KEY, offset=5, shape=shape).astype(half)
    assert_same_bits(fs.dropout(x, 0.4, KEY, offset=5, shape=shape), want)
    turned = np.asfortranarray(x)
    assert_same_bits(np.ascontiguousarray(fs.dropout(turned, 0.4, KEY, offset=5, shape=shape, out=turned)), want)


def test_dropout_refuses_an_output_of_the_other_16_bit_dtype() -> None:
    x = np.ones(3, np.float16)
    with pytest.raises(ValueError, match=r"out must be float16 of shape \(3,\), like x; got bfloat16 \(3,\)"):
        fs.dropout(x, 0.5, KEY, out=np.ones(3, bfloat16))


# Batch norm

# (shape, axis). The kernels convert 2,048 numbers at a time, and use SIMD vectors of 8 or 16 channels. Most shapes are
# a little larger or smaller than multiples of these numbers.
SHAPES = [
    ((2, 1), 1),
    ((33, 17), 1),
    ((1025, 5), 1),
    ((70, 64), 1),
    ((35, 2049), 1),
    ((3, 4100), 1),
    ((70, 9, 7, 7), 1),
    ((3, 2, 2), 1),
    ((3, 2, 2053), 1),
    ((1, 1, 40_000), 1),
    ((2, 50, 65), 1),
    ((5, 4, 3, 19), -1),
]
VARIANTS = list(itertools.product((True, False), repeat=3))  # (training, relu, residual)


def rounded_case(
    rng: np.random.Generator, shape: Any, axis: int, half: Any, variant: Any, parameters: Any
) -> tuple[Case, list[Array]]:
    """Return random arguments of batch norm, and the expected results.

    x, dy and the residual have the dtype `half`. gamma, beta and the running statistics have the dtype `parameters`.
    `variant` is (training, relu, residual). The expected results are computed with NumPy in float32, and rounded.
    """
    case = Case(rng, shape, axis, np.float32, *variant)
    names = {"x": half, "dy": half, **({} if case.residual is None else {"residual": half})}
    names |= dict.fromkeys(("gamma", "beta", "mean", "var"), parameters)
    for name, dtype in names.items():
        setattr(case, name, getattr(case, name).astype(dtype).astype(np.float32))
    kinds = half, parameters, parameters, half, parameters, parameters, half
    want = [a.astype(dtype) for a, dtype in zip(case.bits(), kinds, strict=False)]
    for name, dtype in names.items():
        setattr(case, name, getattr(case, name).astype(dtype))
    return case, want


@every_half
@pytest.mark.parametrize(("shape", "axis"), SHAPES, ids=str)
def test_half_batch_norm_has_the_bits_of_the_rounded_numpy_reference(
    rng: np.random.Generator, half: Any, shape: Any, axis: int
) -> None:
    """`half` is float16 or bfloat16. Batch norm has a residual and a ReLU. Nothing is written outside the arrays."""
    case, want = rounded_case(rng, shape, axis, half, (True, True, True), np.float32)
    fenced = Fenced([a.ravel() for a in (case.x, case.x, case.dy, case.dy)])
    x, y, dy, dx = (a.reshape(shape) for a in fenced.arrays)
    for machine in machines((1, 4)):
        for got, wanted in zip(case.run(x, y, dy, dx), want, strict=True):
            assert_same_bits(got, wanted, machine)
        fenced.check((shape, axis))
    assert_same_bits(x, case.x)


@pytest.mark.parametrize("machine", [m for m in MACHINES if m in SERIAL or m[1:] == (BACKENDS[-1], 4)], ids=str)
@every_half
@pytest.mark.parametrize("wide", [True, False], ids=["float32 parameters", "16-bit parameters"])
def test_variants_of_half_batch_norm_have_the_same_bits_for_every_isa_and_thread_count(
    rng: np.random.Generator, half: Any, machine: Any, wide: bool
) -> None:
    """`half` is float16 or bfloat16. The NumPy reference computes the expected results in float32.

    Each expected result is then rounded to the dtype in which the layer returns it. Each variant is training or
    evaluation, with or without ReLU, and with or without a residual.
    """
    parameters = np.dtype(np.float32) if wide else half
    for shape, axis in (((9, 5, 21, 19), 1), ((9, 21, 19, 5), -1), ((300, 70), 1)):
        for variant in VARIANTS:
            case, want = rounded_case(rng, shape, axis, half, variant, parameters)
            with running(machine):
                found = case.run(case.x, None, case.dy, None)
            for got, wanted in zip(found, want, strict=True):
                assert_same_bits(got, wanted, (shape, variant))


@every_half
@pytest.mark.parametrize(("shape", "axis"), [((64, 33, 3001), 1), ((3001, 2112), -1)], ids=str)
def test_half_layers_have_the_bits_of_rounded_float32_results_if_stores_bypass_the_caches(
    rng: np.random.Generator, half: Any, shape: Any, axis: int
) -> None:
    """`half` is float16 or bfloat16. The arrays are so large that the kernels use stores that bypass the caches."""
    x = rng.standard_normal(shape, dtype=np.float32).astype(half)
    wide = x.astype(np.float32)
    assert_same_bits(fs.dropout(x, 0.3, KEY, offset=5), fs.dropout(wide, 0.3, KEY, offset=5).astype(half))
    y, saved = fs.batch_norm(x, axis=axis, relu=True, residual=x)
    want, wide_saved = fs.batch_norm(wide, axis=axis, relu=True, residual=wide)
    assert_same_bits(y, want.astype(half))
    grads, wanted = fs.batch_norm_backward(x, saved), fs.batch_norm_backward(wide, wide_saved)
    assert_same_bits(grads.dx, wanted.dx.astype(half))
    assert_same_bits(grads.dresidual, wanted.dresidual.astype(half))


@every_half
def test_half_batch_norm_has_the_same_bits_in_place_and_in_a_new_array(rng: np.random.Generator, half: Any) -> None:
    """`half` is float16 or bfloat16.

    In place, the output overwrites the input, and the gradient of the input overwrites the gradient of the output.
    """
    case, (y, *_, dx, _, _) = rounded_case(rng, (40, 3, 50), 1, half, (True, False, False), np.float32)
    kept, _ = fs.batch_norm(case.x, case.gamma, case.beta)
    assert_same_bits(kept, y)
    _, saved = fs.batch_norm(case.x, case.gamma, case.beta)
    fs.batch_norm_backward(case.dy, saved, out=case.dy)
    assert_same_bits(case.dy, dx)
    fs.batch_norm(case.x, case.gamma, case.beta, out=case.x)
    assert_same_bits(case.x, y)


@every_half
def test_batch_stats_of_16_bit_numbers_equal_those_of_the_same_numbers_in_float32(
    rng: np.random.Generator, half: Any
) -> None:
    x = rng.normal(3, 2, (70, 33)).astype(half)
    narrow, wide = fs.BatchStats(), fs.BatchStats()
    narrow.update(x)
    wide.update(x.astype(np.float32))
    assert_same_bits(narrow.mean, wide.mean)
    assert_same_bits(narrow.var(), wide.var())


def test_batch_norm_refuses_mixtures_of_16_bit_dtypes(rng: np.random.Generator) -> None:
    """Batch norm also refuses 16-bit parameters for a float32 input. The kernel of `nn.ReLU` refuses 16-bit arrays."""
    x, gamma = np.ones((4, 3), np.float16), np.ones(3, bfloat16)
    need = r"gamma must be None, or a C-contiguous array of dtype float16 or float32 and shape \(3,\); got bfloat16"
    with pytest.raises(ValueError, match=need):
        fs.batch_norm(x, gamma)
    with pytest.raises(TypeError, match=r"gamma must be float32 or float64 in native byte order; got float16 \(3,\)"):
        fs.batch_norm(x.astype(np.float32), np.ones(3, np.float16))
    with pytest.raises(ValueError, match=r"residual must be like x: float16 \(4, 3\); got bfloat16 \(4, 3\)"):
        fs.batch_norm(x, residual=x.astype(bfloat16))
    with pytest.raises(TypeError, match="relu: x must be float32 or float64"):
        fs._core.relu(x, None, x)


# torch's tensors

every_name = pytest.mark.parametrize("name", HALVES)


@pytest.fixture
def ft(torch: ModuleType) -> Any:
    import fusedstep.torch

    torch.manual_seed(0)
    return fusedstep.torch


@every_name
def test_half_dropout_in_torch_equals_the_rounded_result_of_float32_dropout(torch: Any, ft: Any, name: str) -> None:
    """The layer runs with and without `inplace`, on a channels-last tensor. The gradient is 0 where the output is 0."""
    dtype = getattr(torch, name)
    wide = torch.randn(3, 4, 50, 6).to(dtype).float().to(memory_format=torch.channels_last)
    for inplace in (False, True):
        torch.manual_seed(5)
        want = ft.Dropout(0.3)(wide)
        x = wide.to(dtype).requires_grad_(not inplace)
        torch.manual_seed(5)
        y = ft.Dropout(0.3, inplace=inplace)(x)
        assert y.dtype is dtype
        assert y.stride() == wide.stride()
        assert torch.equal(y, want.to(dtype))
    x = wide.to(dtype).requires_grad_()
    y = ft.Dropout(0.3)(x)
    (dx,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert dx.dtype is dtype and torch.equal(dx != 0, y != 0)


def results(torch: Any, layer: Any, x: Any, residual: Any, dy: Any) -> list[Any]:
    """Return the output, the gradients and the running statistics, converted to float64.

    The output is that of batch norm with a residual and a ReLU.
    """
    x, residual = x.clone().requires_grad_(), residual.clone().requires_grad_()
    own = isinstance(layer, torch.nn.BatchNorm2d) and "fusedstep" in type(layer).__module__
    y = layer(x, residual) if own else torch.relu(layer(x) + residual)
    y.backward(dy)
    grads = x.grad, layer.weight.grad, layer.bias.grad
    assert y.dtype is x.dtype and layer.weight.grad.dtype is layer.weight.dtype
    return [t.detach().double() for t in (y, *grads, layer.running_mean, layer.running_var)]


@every_name
@pytest.mark.parametrize("wide", [True, False], ids=["float32 parameters", "16-bit parameters"])
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
def test_errors_of_fusedsteps_16_bit_batch_norm_are_at_most_2_percent_above_those_of_torchs_layer(
    torch: Any, ft: Any, name: str, wide: bool, last: bool
) -> None:
    """The errors are mean absolute differences from the results of torch's layer in float64.

    The test also allows a rounding error of 2e-7 times the largest result.
    In evaluation, the outputs of fusedstep's layer and of torch's layer agree to 0.02.
    """
    dtype = getattr(torch, name)
    layers = [ft.BatchNorm2d(7, relu=True), torch.nn.BatchNorm2d(7), torch.nn.BatchNorm2d(7).double()]
    torch.nn.init.normal_(layers[0].weight), torch.nn.init.normal_(layers[0].bias)
    layers = [layer if wide else layer.to(dtype) for layer in layers[:2]] + layers[2:]
    layers[1].load_state_dict(layers[0].state_dict())
    layers[2].load_state_dict(layers[0].state_dict())
    data = [torch.randn(8, 7, 9, 5).mul(2).add(1).to(dtype) for _ in range(3)]
    if last:
        data = [t.to(memory_format=torch.channels_last) for t in data]
    ours, theirs = (results(torch, layer, *data) for layer in layers[:2])
    exact = results(torch, layers[2], *(t.double() for t in data))
    for got, other, want in zip(ours, theirs, exact, strict=True):
        error, others = ((t - want).abs().mean() for t in (got, other))
        assert error <= 1.02 * others + 2e-7 * want.abs().max(), (error, others)
    layers[0].eval(), layers[1].eval()
    y = layers[0](data[0])
    assert y.dtype is dtype
    assert torch.allclose(y.float(), torch.relu(layers[1](data[0])).float(), atol=0.02, rtol=0.02)


@every_name
def test_half_batch_norm_in_torch_has_second_derivatives_that_are_finite_and_not_all_0(
    torch: Any, ft: Any, name: str
) -> None:
    layer, x = ft.BatchNorm1d(3), torch.randn(20, 3).to(getattr(torch, name)).requires_grad_()
    (dx,) = torch.autograd.grad(layer(x).float().pow(3).sum(), x, create_graph=True)
    dx.float().pow(2).sum().backward()
    assert x.grad.dtype is x.dtype
    assert bool(torch.isfinite(x.grad).all())
    assert bool(x.grad.any())


@every_name
def test_accelerate_replaces_dropout_and_batch_norm_of_16_bit_models(torch: Any, ft: Any, name: str) -> None:
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5)).to(getattr(torch, name))
    ft.accelerate(model)
    assert [type(m) for m in model] == [ft.BatchNorm1d, ft.Dropout]
    assert model(torch.randn(6, 3).to(getattr(torch, name))).dtype is getattr(torch, name)
