"""Tests of Muon for arrays and tensors: agreement with torch's Muon, groups stepped by AdamW, and refused arguments."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.optim import _reference
from support.bits import Array
from support.torch_cases import ours, theirs

SHAPES = [(20, 30), (30, 20), (16, 16)]


@pytest.fixture
def in_float32(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch's Muon compute its Newton-Schulz iteration in float32 instead of bfloat16."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda x: x.clone())


def train(opt: Any, tensors: list[Any], steps: int, seed: int = 0) -> None:
    """Take steps with random gradients."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for p in tensors:
            p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)
        opt.step()


def leaves(torch: Any, shapes: list[tuple[int, ...]], seed: int = 1) -> list[Any]:
    """Return random parameters."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=generator).requires_grad_() for s in shapes]


OPTIONS: list[dict[str, Any]] = [
    {},
    {"momentum": 0.8, "nesterov": False, "weight_decay": 0.0},
    {"adjust_lr_fn": "match_rms_adamw", "ns_steps": 6, "ns_coefficients": (3.4, -4.7, 2.0)},
]


@pytest.mark.torch
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: ", ".join(o) or "default")
def test_muon_agrees_with_torch_for_100_steps_if_torch_also_computes_in_float32(
    options: Any, torch: Any, in_float32: None
) -> None:
    mine, other = leaves(torch, SHAPES), leaves(torch, SHAPES)
    train(ours("Muon")(mine, lr=0.02, **options), mine, 100)
    train(theirs("Muon")(other, lr=0.02, **options), other, 100)
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: ", ".join(o) or "default")
def test_muon_with_matrix_products_in_bfloat16_agrees_with_torch(options: Any, torch: Any) -> None:
    mine, other = leaves(torch, SHAPES), leaves(torch, SHAPES)
    train(ours("Muon")(mine, lr=0.02, ns_dtype=torch.bfloat16, **options), mine, 20)
    train(theirs("Muon")(other, lr=0.02, **options), other, 20)
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@pytest.mark.torch
def test_default_muon_differs_from_torchs_default_by_less_than_0_003_after_100_steps(torch: Any) -> None:
    """By default, fusedstep computes the matrix products in float32, and torch in bfloat16.

    So the largest difference between the parameters must also be more than 0.0005.
    """
    (mine,), (other,) = leaves(torch, SHAPES[:1]), leaves(torch, SHAPES[:1])
    train(ours("Muon")([mine], lr=0.02), [mine], 100)
    train(theirs("Muon")([other], lr=0.02), [other], 100)
    assert 5e-4 < float((mine - other).detach().abs().max()) < 3e-3


@pytest.mark.torch
def test_muon_for_arrays_agrees_with_muon_for_tensors(torch: Any) -> None:
    """The parameters are matrices, a convolution kernel and a vector. One matrix is in Fortran order."""
    shapes = [*SHAPES, (6, 4, 3, 3), (9,)]
    tensors = leaves(torch, shapes)
    arrays = [
        p.detach().numpy().copy(order="F") if k == 1 else p.detach().numpy().copy() for k, p in enumerate(tensors)
    ]
    groups = [{"params": tensors[:4], "flatten": True}, {"params": tensors[4:], "adamw": True}]
    opt, arrays_opt = ours("Muon")(groups, lr=0.02), fs.Muon(arrays, lr=0.02)
    generator = torch.Generator().manual_seed(3)
    for _ in range(20):
        for p in tensors:
            p.grad = torch.randn(p.shape, generator=generator)
        opt.step()
        arrays_opt.step([p.grad.numpy() for p in tensors])
    for a, p in zip(arrays, tensors, strict=True):
        np.testing.assert_allclose(a, p.detach().numpy(), rtol=0, atol=1e-5)


def test_muon_treats_a_convolution_kernel_as_a_matrix_with_a_row_per_output_channel(rng: np.random.Generator) -> None:
    kernel, g = rng.standard_normal((2, 6, 4, 3, 3))
    matrix = kernel.reshape(6, 36).copy()
    fs.Muon([kernel], lr=0.1).step([g])
    fs.Muon([matrix], lr=0.1).step([g.reshape(6, 36)])
    assert kernel.reshape(6, 36).tobytes() == matrix.tobytes()


def test_singular_values_of_a_muon_step_are_near_one(rng: np.random.Generator) -> None:
    """With the five default iterations, all singular values are between 0.6 and 1.3.

    With 30 iterations of the polynomial 1.5 x - 0.5 x^3, all are 1.
    """
    p, g = np.zeros((10, 25)), rng.standard_normal((10, 25))
    fs.Muon([p], lr=1.0, weight_decay=0.0).step([g])
    values = np.linalg.svd(p, compute_uv=False)
    assert values.min() > 0.6 and values.max() < 1.3
    p[...] = 0
    fs.Muon([p], lr=1.0, weight_decay=0.0, ns_coefficients=(1.5, -0.5, 0.0), ns_steps=30).step([g])
    u, _, vt = np.linalg.svd(g, full_matrices=False)
    np.testing.assert_allclose(p, -u @ vt, atol=1e-6)


def test_muon_groups_with_adamw_true_have_the_bits_of_adamw(rng: np.random.Generator) -> None:
    """The reference is AdamW's formula, computed with NumPy. Muon stores AdamW's `exp_avg` as `momentum_buffer`."""
    start, g = rng.standard_normal((2, 7, 5)).astype(np.float32)
    p = start.copy()
    opt = fs.Muon([{"params": [p], "adamw": True}], lr=0.1, weight_decay=0.2, betas=(0.8, 0.9))
    want, state = start, {"exp_avg": np.zeros_like(p), "exp_avg_sq": np.zeros_like(p)}
    group = dict(fs.AdamW([p.copy()], weight_decay=0.2, betas=(0.8, 0.9)).groups[0])
    for t in (1, 2, 3):
        opt.step([g])
        want = _reference.step(fs.AdamW, want, g, state, t, 0.1, group)
    assert p.tobytes() == want.tobytes()
    assert opt.state[0]["momentum_buffer"].tobytes() == state["exp_avg"].tobytes()


def test_muon_moves_vectors_to_groups_with_adamw_and_refuses_them_if_adamw_is_false() -> None:
    """A group with a matrix and a vector becomes two groups. The new group, with the vector, is the last."""
    w, b, e = np.ones((3, 2)), np.ones(2), np.ones((5, 2))
    opt = fs.Muon([{"params": {"w": w, "b": b}, "lr": 0.5}, {"params": {"e": e}, "adamw": True}])
    assert [(g["adamw"], g["lr"], len(g["params"])) for g in opt.groups] == [
        (False, 0.5, 1), (True, 0.001, 1), (True, 0.5, 1)
    ]  # fmt: skip
    assert list(opt.params) == ["w", "b", "e"]
    assert fs.Muon([b]).groups[0]["adamw"]
    with pytest.raises(ValueError, match=r'Muon: params\[1\] \("b"\) must have two or more axes .*got shape \(2,\)'):
        fs.Muon([{"params": {"w": w, "b": b}, "adamw": False}])


def stepped(**step: Any) -> tuple[Array, Array, Any]:
    """Return a matrix, a vector and the result of `step` after two steps with the given options of `step`.

    The extra option `scale` multiplies the gradients.
    """
    rng = np.random.default_rng(5)
    w, b = rng.standard_normal((8, 5)), rng.standard_normal(5)
    opt = fs.Muon([w, b], lr=0.1)
    scale = step.pop("scale", 1.0)
    for _ in range(2):
        grads = [scale * rng.standard_normal((8, 5)), scale * rng.standard_normal(5)]
        info = opt.step(grads, **step)
    return w, b, info


def test_muon_divides_gradients_by_grad_scale_and_clips_them() -> None:
    """The two sets of options in each pair must give equal parameters.

    A clipping limit that the gradients exceed must change the parameters.
    """
    for step, equivalent in (
        ({"grad_scale": 4.0, "scale": 4.0}, {}),
        ({"clip_norm": 1e9}, {}),
        ({"grad_scale": 4.0, "scale": 4.0, "clip_norm": 2.0}, {"clip_norm": 2.0}),
        ({"clip_value": 0.5, "grad_scale": 2.0, "scale": 2.0}, {"clip_value": 0.5}),
    ):
        for a, b in zip(stepped(**step)[:2], stepped(**equivalent)[:2], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=str(step))
    assert stepped(clip_norm=2.0)[2].clip_coef < 1
    assert (stepped(clip_norm=2.0)[0] != stepped()[0]).any()
    assert (stepped(clip_value=0.5)[0] != stepped()[0]).any()


def test_steps_that_are_skipped_or_refused_change_nothing(rng: np.random.Generator) -> None:
    """With `skip_nonfinite`, a step whose gradients contain inf is skipped.

    A step is refused if a gradient is missing or has a wrong shape. With `zero_grads`, it is also refused if a gradient
    is read-only. The last step is correct: it zeroes the gradients and changes the parameters.
    """
    w, b = rng.standard_normal((8, 5)), rng.standard_normal(5)
    opt = fs.Muon([w, b], lr=0.1)
    opt.step([np.ones((8, 5)), np.ones(5)])
    before = [w.tobytes(), b.tobytes(), opt.state[0]["momentum_buffer"].tobytes()]
    assert opt.step([np.full((8, 5), np.inf), np.ones(5)], skip_nonfinite=True).skipped
    for wrong in ([np.ones((8, 5)), np.ones(4)], [np.ones((5, 8)), np.ones(5)], [np.ones((8, 5))]):
        with pytest.raises(ValueError, match=r"^Muon\.step: grads"):
            opt.step(wrong)
    read_only = np.ones((8, 5))
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match=r"Muon\.step: grads\[0\] must be writeable"):
        opt.step([read_only, np.ones(5)], zero_grads=True)
    assert [w.tobytes(), b.tobytes(), opt.state[0]["momentum_buffer"].tobytes()] == before
    grads = [np.ones((8, 5)), np.ones(5)]
    opt.step(grads, zero_grads=True)
    assert not any(g.any() for g in grads)
    assert w.tobytes() != before[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ns_steps": 100}, "ns_steps must be at least 0 and below 100; got 100"),
        ({"ns_coefficients": (1.0, 2.0)}, r"ns_coefficients must be three numbers; got \(1.0, 2.0\)"),
        ({"adjust_lr_fn": "none"}, 'adjust_lr_fn must be "original", "match_rms_adamw" or None; got \'none\''),
    ],
)
def test_muon_refuses_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"Muon: {message}"):
        fs.Muon([np.ones((2, 2))], **options)


def test_training_that_resumes_from_a_checkpoint_has_the_bits_of_uninterrupted_training(
    rng: np.random.Generator,
) -> None:
    """The state dict is taken after two of four steps, and loaded into a new optimizer."""
    start, grads = (
        [np.ones((4, 3)), np.ones(3)],
        [[rng.standard_normal((4, 3)), rng.standard_normal(3)] for _ in "1234"],
    )
    uninterrupted, resumed = [p.copy() for p in start], [p.copy() for p in start]
    opt, first = fs.Muon(uninterrupted), fs.Muon(resumed)
    for g in grads:
        opt.step(g)
    for g in grads[:2]:
        first.step(g)
    rest = fs.Muon(resumed)
    rest.load_state_dict(first.state_dict())
    for g in grads[2:]:
        rest.step(g)
    assert [a.tobytes() for a in uninterrupted] == [a.tobytes() for a in resumed]


@pytest.mark.torch
def test_muon_options_have_the_same_effect_on_tensors_and_arrays(torch: Any) -> None:
    """The options are clipping, `zero_grads`, `ema_decay` and `maximize`.

    A step does not replace the `grad` tensors, and zeroes them only with `zero_grads`.
    """
    for options in (
        {"clip_norm": 0.7},
        {"clip_value": 0.3, "zero_grads": True},
        {"ema_decay": 0.5},
        {"maximize": True},
    ):
        tensors = leaves(torch, [(8, 5), (5,)])
        arrays = [p.detach().numpy().copy() for p in tensors]
        of_step = {name: value for name, value in options.items() if name in ("clip_norm", "clip_value", "zero_grads")}
        of_opt = {name: value for name, value in options.items() if name not in of_step}
        opt = ours("Muon")([{"params": tensors[:1]}, {"params": tensors[1:], "adamw": True}], **options)
        arrays_opt = fs.Muon(arrays, **of_opt)
        for seed in range(3):
            generator = torch.Generator().manual_seed(seed)
            for p in tensors:
                p.grad = torch.randn(p.shape, generator=generator)
            given = [p.grad for p in tensors]
            arrays_opt.step([g.numpy().copy() for g in given], **of_step)
            opt.step()
            assert all(p.grad is g for p, g in zip(tensors, given, strict=True))
            assert all(not g.any() for g in given) == bool(options.get("zero_grads"))
        for a, p in zip(arrays, tensors, strict=True):
            np.testing.assert_allclose(a, p.detach().numpy(), rtol=0, atol=1e-6, err_msg=str(options))


@pytest.mark.torch
def test_muon_for_tensors_steps_correctly_after_an_infinite_gradient_if_momentum_is_0(torch: Any) -> None:
    """The buffer of torch's Muon would stay nan."""
    import fusedstep.torch as ft

    weights = [torch.ones(4, 5, requires_grad=True) for _ in range(2)]
    opt, fresh = (ft.Muon([w], momentum=0.0) for w in weights)
    weights[0].grad = torch.full((4, 5), torch.inf)
    opt.step()
    with torch.no_grad():
        weights[0].fill_(1.0)
    for w, o in zip(weights, (opt, fresh), strict=True):
        w.grad = torch.full((4, 5), 1e-4)
        o.step()
    assert torch.equal(*weights) and (weights[0] != 1).all()


@pytest.mark.torch
def test_muon_for_tensors_skips_a_step_with_nan_and_exchanges_state_dicts_with_torchs_muon(torch: Any) -> None:
    """A state dict goes from fusedstep's Muon to torch's, and then to a new Muon of fusedstep. Later steps agree."""
    mine, other = leaves(torch, [(8, 5)]), leaves(torch, [(8, 5)])
    opt, reference = ours("Muon")(mine, ns_dtype=torch.bfloat16, skip_nonfinite=True), theirs("Muon")(other)
    train(opt, mine, 3), train(reference, other, 3)
    mine[0].grad = torch.full((8, 5), torch.nan)
    opt.step()
    assert opt.skipped
    reference.load_state_dict(copy.deepcopy(opt.state_dict()))
    again = ours("Muon")(mine, ns_dtype=torch.bfloat16)
    again.load_state_dict(copy.deepcopy(reference.state_dict()))
    again.param_groups[0]["ns_dtype"] = torch.bfloat16
    train(again, mine, 3, seed=1), train(reference, other, 3, seed=1)
    torch.testing.assert_close(mine[0], other[0], rtol=0, atol=1e-6)


@pytest.fixture
def mesh(torch: Any) -> Iterator[Any]:
    """Return a device mesh that contains only this process."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.torch
def test_muon_for_tensors_refuses_vectors_convolution_kernels_and_sharded_tensors(torch: Any, mesh: Any) -> None:
    """The groups have neither `flatten` nor `adamw`. An integer `ns_dtype` is refused too."""
    from torch.distributed.tensor import Shard, distribute_tensor

    cls = ours("Muon")
    sharded = torch.nn.Parameter(distribute_tensor(torch.ones(4, 4), mesh, [Shard(0)]))
    for params, message in (
        ([("flat", torch.nn.Parameter(torch.ones(12)))], r'params\[0\] \("flat"\): Muon only supports 2D .* shard'),
        ([("conv", torch.nn.Parameter(torch.ones(2, 3, 3, 3)))], r'params\[0\] \("conv"\): Muon only .*flatten=True'),
        ([("sharded", sharded)], r'params\[0\] \("sharded"\) must be an ordinary tensor.*adamw=True'),
    ):
        with pytest.raises(ValueError, match=r"^Muon: param_groups\[0\]: " + message):
            cls(params)
    with pytest.raises(TypeError, match=r"ns_dtype must be a floating-point torch\.dtype; got torch\.int32"):
        cls([torch.nn.Parameter(torch.ones(2, 2))], ns_dtype=torch.int32)
