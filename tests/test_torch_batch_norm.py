"""fusedstep's batch normalisation layers give the same results, buffers and errors as torch's layers."""

from __future__ import annotations

import copy
import pickle
from types import ModuleType
from typing import Any

import pytest

#: Name of a layer -> shape of its input. "BatchNorm1d-length" is BatchNorm1d with an input of three axes.
KINDS = {
    "BatchNorm1d": (12, 5),
    "BatchNorm1d-length": (4, 5, 6),
    "BatchNorm2d": (3, 5, 4, 6),
    "BatchNorm3d": (2, 5, 3, 2, 4),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "momentum None": {"momentum": None},
    "momentum 0": {"momentum": 0.0},
    "not affine": {"affine": False},
    "no bias": {"bias": False},
    "no running statistics": {"track_running_stats": False},
    "large eps": {"eps": 0.1},
}
TOLERANCE = {"float32": 1e-6, "float64": 1e-13}


@pytest.fixture
def ft(torch: ModuleType) -> Any:
    import fusedstep.torch

    torch.manual_seed(0)
    return fusedstep.torch


def pair(torch: Any, ft: Any, kind: str, dtype: str = "float32", **options: Any) -> tuple[Any, Any]:
    """Return torch's layer and ours, with the same parameters and running statistics."""
    name, relu = kind.split("-")[0], options.pop("relu", False)
    theirs = getattr(torch.nn, name)(5, **options, dtype=getattr(torch, dtype))
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.randn_like(p))
        if theirs.running_mean is not None:
            theirs.running_mean.normal_()
            theirs.running_var.uniform_(0.5, 2.0)
    ours = getattr(ft, name)(5, **options, dtype=getattr(torch, dtype), relu=relu)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


def data(torch: Any, kind: str, dtype: str = "float32") -> Any:
    return (3 + 2 * torch.randn(KINDS[kind], dtype=getattr(torch, dtype))).requires_grad_()


def assert_close(torch: Any, ours: Any, theirs: Any, dtype: str = "float32", scale: float = 1.0) -> None:
    torch.testing.assert_close(ours, theirs, rtol=TOLERANCE[dtype] * scale, atol=TOLERANCE[dtype] * scale)


def assert_same_passes(torch: Any, theirs: Any, ours: Any, x: Any, dtype: str = "float32", steps: int = 3) -> None:
    """Assert that the outputs, gradients and buffers of both layers agree for each of `steps` batches."""
    for step in range(steps):
        batch = (x.detach() * (1 + step)).requires_grad_()
        dy = torch.randn_like(x)
        results = []
        for layer in (theirs, ours):
            layer.zero_grad()
            y = layer(batch)
            inputs = [batch, *layer.parameters()] if y.requires_grad else []
            results.append((y.detach(), *torch.autograd.grad(y, inputs, dy)))
        for theirs_result, ours_result in zip(*results, strict=True):
            # torch adds the terms of a sum in another order than fusedstep, so rounding errors differ
            assert_close(torch, ours_result, theirs_result, dtype, scale=5.0)
        for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
            assert_close(torch, a, b, dtype, scale=5.0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_results_agree_with_torch(torch: Any, ft: Any, kind: str, option: str, dtype: str, training: bool) -> None:
    theirs, ours = pair(torch, ft, kind, dtype, **OPTIONS[option])
    theirs.train(training), ours.train(training)
    assert_same_passes(torch, theirs, ours, data(torch, kind, dtype), dtype)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("with_residual", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_residual_and_relu_agree_with_torch(
    torch: Any, ft: Any, kind: str, with_residual: bool, relu: bool, training: bool
) -> None:
    theirs, ours = pair(torch, ft, kind, "float64", relu=relu)
    theirs.train(training), ours.train(training)
    x, dy = data(torch, kind, "float64"), torch.randn(KINDS[kind], dtype=torch.float64)
    r = torch.randn_like(x).requires_grad_()
    y = theirs(x) + r if with_residual else theirs(x)
    y = torch.relu(y) if relu else y
    z = ours(x, r) if with_residual else ours(x)
    inputs = (x, *([r] if with_residual else []))
    assert_close(torch, z, y, "float64", 10)
    wanted = torch.autograd.grad(y, (*inputs, *theirs.parameters()), dy)
    for a, b in zip(torch.autograd.grad(z, (*inputs, *ours.parameters()), dy), wanted, strict=True):
        assert_close(torch, a, b, "float64", 10)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("with_residual", [True, False])
def test_first_and_second_gradients_agree_with_finite_differences(
    torch: Any, ft: Any, with_residual: bool, relu: bool, training: bool
) -> None:
    _, layer = pair(torch, ft, "BatchNorm1d-length", "float64", relu=relu)
    layer.train(training)
    x, r = data(torch, "BatchNorm1d-length", "float64"), torch.randn(4, 5, 6, dtype=torch.float64).requires_grad_()

    def run(x: Any, weight: Any, bias: Any, *residual: Any) -> Any:
        parameters = {"weight": weight, "bias": bias}
        return torch.func.functional_call(layer, parameters, (x, *residual))

    inputs = (x, layer.weight, layer.bias, *([r] if with_residual else []))
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


#: Memory layout -> function that returns x in this layout. "expanded" also replaces all examples by the first one.
LAYOUTS = {
    "channels_last": lambda x: x.movedim(1, -1).contiguous().movedim(-1, 1),
    "batch last": lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0),
    "strided": lambda x: x.repeat_interleave(2, 0)[::2],
    "expanded": lambda x: x[:1].expand(x.shape),
    "channels first": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_results_for_every_memory_layout_agree_with_torch(torch: Any, ft: Any, kind: str, layout: str) -> None:
    # In the layout "expanded", all examples are equal, so some variances are 0. A large eps keeps the results small.
    theirs, ours = pair(torch, ft, kind, "float64", relu=True, eps=0.1)
    x, r, dy = (data(torch, kind, "float64").detach() for _ in range(3))
    arrange = LAYOUTS[layout]
    results = []
    for layer, inputs in ((theirs, (x, r)), (ours, (arrange(x), arrange(r)))):
        if layout == "expanded":
            inputs = tuple(arrange(t) for t in inputs)
        a, b = (t.detach().requires_grad_() for t in inputs)
        y = layer(a, b) if layer is ours else torch.relu(layer(a) + b)
        results.append((y, *torch.autograd.grad(y, (a, b, *layer.parameters()), arrange(dy))))
    for ours_result, theirs_result in zip(results[1], results[0], strict=True):
        assert_close(torch, ours_result, theirs_result, "float64", 10)
    if layout == "channels_last":  # the output and the gradient of the input also have this layout
        assert results[1][0].stride() == results[1][1].stride() == arrange(x).stride()


def test_inputs_with_channels_last_are_not_copied(torch: Any, ft: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from fusedstep import _core

    x = torch.randn(2, 5, 3, 4).to(memory_format=torch.channels_last)
    seen, call = [], _core.batch_norm
    monkeypatch.setattr(_core, "batch_norm", lambda *args: (seen.append(args), call(*args))[1])
    y = ft.BatchNorm2d(5)(x)
    # the kernel was called once, with the memory of x and y; the channels were the last axis
    ((given, *_, axis, _, _, out, _),) = seen
    assert (given.ctypes.data, out.ctypes.data, axis) == (x.data_ptr(), y.data_ptr(), -1)
    assert y.is_contiguous(memory_format=torch.channels_last)


# Training, evaluation and autograd


def test_evaluation_agrees_with_torch_and_leaves_the_layer_unchanged(torch: Any, ft: Any) -> None:
    theirs, ours = pair(torch, ft, "BatchNorm2d")
    theirs.eval(), ours.eval()
    before = copy.deepcopy(ours.state_dict())
    assert_same_passes(torch, theirs, ours, data(torch, "BatchNorm2d"))
    assert all(torch.equal(a, before[name]) for name, a in ours.state_dict().items())


@pytest.mark.parametrize("frozen", ["weight", "bias", "both"])
def test_frozen_parameters_get_no_gradient(torch: Any, ft: Any, frozen: str) -> None:
    _, layer = pair(torch, ft, "BatchNorm2d")
    for name in ("weight", "bias") if frozen == "both" else (frozen,):
        getattr(layer, name).requires_grad_(False)
    layer(data(torch, "BatchNorm2d")).square().sum().backward()
    assert (layer.weight.grad is None) == (frozen in ("weight", "both"))
    assert (layer.bias.grad is None) == (frozen in ("bias", "both"))


def test_results_agree_with_torch_if_track_running_stats_is_changed_to_false(torch: Any, ft: Any) -> None:
    theirs, ours = pair(torch, ft, "BatchNorm2d")
    theirs.track_running_stats = ours.track_running_stats = False
    x = data(torch, "BatchNorm2d")
    for training in (True, False):
        theirs.train(training), ours.train(training)
        assert_same_passes(torch, theirs, ours, x)


def test_layer_works_without_gradients_and_in_inference_mode(torch: Any, ft: Any) -> None:
    """In training mode, calls without gradients also update the buffers.

    If no parameter requires a gradient, the output requires a gradient only if the input does.
    """
    _, layer = pair(torch, ft, "BatchNorm2d")
    x = data(torch, "BatchNorm2d")
    with torch.no_grad():
        assert not layer(x).requires_grad
    with torch.inference_mode():
        assert layer(x).is_inference()
    assert int(layer.num_batches_tracked) == 2
    for p in layer.parameters():
        p.requires_grad_(False)
    assert not layer(x.detach()).requires_grad and layer(x).requires_grad


def test_autograd_detects_that_a_layer_has_changed_its_buffers(torch: Any, ft: Any) -> None:
    theirs, ours = pair(torch, ft, "BatchNorm2d")
    ours.running_mean, ours.running_var = theirs.running_mean, theirs.running_var
    x = data(torch, "BatchNorm2d")
    loss = theirs.eval()(x).sum()  # the gradient of this loss needs the running statistics
    ours(x)  # changes the running statistics, which both layers share
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_backward_pass_is_refused_if_the_input_has_changed(torch: Any, ft: Any) -> None:
    _, layer = pair(torch, ft, "BatchNorm2d")
    x = data(torch, "BatchNorm2d").detach()
    y = layer(x)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_second_backward_pass_gives_the_same_gradient_even_if_the_output_was_overwritten(torch: Any, ft: Any) -> None:
    _, layer = pair(torch, ft, "BatchNorm2d", relu=True)
    x = data(torch, "BatchNorm2d")
    y = layer(x, x)
    (first,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
    (second,) = torch.autograd.grad(y.mul_(1).sum(), x)  # mul_ overwrites y with the same values
    assert torch.equal(first, second)


# Unusual inputs and settings: the layer gives the same errors and results as torch's layer


@pytest.mark.parametrize(
    ("shape", "mode"),  # mode: True for training, False for evaluation
    [
        ((1, 5), True),
        ((3, 4), True),
        ((3, 4), False),
        ((3, 5, 2, 2), True),
        ((5,), True),
        ((0, 5), True),
        ((0, 5), False),
    ],
)
def test_unusual_inputs_give_torchs_error_or_shape(torch: Any, ft: Any, shape: tuple[int, ...], mode: bool) -> None:
    """Both layers raise the same error, or return outputs of the same shape. Their buffers are equal afterwards."""
    theirs, ours = pair(torch, ft, "BatchNorm1d")
    outcomes = []
    for layer in (theirs.train(mode), ours.train(mode)):
        try:
            outcomes.append(layer(torch.ones(shape)).shape)
        except (RuntimeError, ValueError) as error:
            outcomes.append((type(error), str(error)))
    assert outcomes[0] == outcomes[1]
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("change", [{"eps": 0.0}, {"momentum": 1.5}, {"momentum": -0.5}, {"eps": -1.0}])
def test_unusual_settings_give_torchs_result_or_error(torch: Any, ft: Any, change: dict[str, Any]) -> None:
    theirs, ours = pair(torch, ft, "BatchNorm1d")
    outcomes, x = [], data(torch, "BatchNorm1d")
    for layer in (theirs, ours):
        for name, value in change.items():
            setattr(layer, name, value)
        try:
            outcomes.append((layer(x).tolist(), layer.running_var.tolist()))
        except ValueError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


def test_a_residual_of_another_shape_is_refused_before_anything_is_written(torch: Any, ft: Any) -> None:
    """At the end, `relu=1` is also refused, because `relu` must be a bool."""
    _, layer = pair(torch, ft, "BatchNorm1d")
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(ValueError, match=r"BatchNorm1d: residual must be of the input's shape \(12, 5\); got \(5,\)"):
        layer(torch.ones(12, 5), torch.ones(5))
    assert all(torch.equal(a, before[name]) for name, a in layer.state_dict().items())
    with pytest.raises(TypeError, match="BatchNorm1d: relu must be"):
        ft.BatchNorm1d(3, relu=1)


def test_mixed_dtypes_are_refused_as_in_torch(torch: Any, ft: Any) -> None:
    """The input is first float64, with float32 parameters. Then the input is float32, with bfloat16 parameters."""
    x = data(torch, "BatchNorm2d").detach()
    for layer, mixed in ((ft.BatchNorm2d(5), x.double()), (ft.BatchNorm2d(5).bfloat16(), x)):
        with pytest.raises(RuntimeError):
            layer(mixed)  # the layer calls torch's operator, which raises the error


def test_results_under_autocast_agree_with_torch(torch: Any, ft: Any) -> None:
    theirs, ours = pair(torch, ft, "BatchNorm2d")
    conv = torch.nn.Conv2d(5, 5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        x = conv(data(torch, "BatchNorm2d"))
        assert x.dtype == torch.bfloat16
        y = ours(x)
        assert y.dtype == torch.bfloat16
        torch.testing.assert_close(y, theirs(x), atol=0.02, rtol=0.02)


@pytest.mark.filterwarnings("ignore")  # torch.jit and torch's forward-mode differentiation warn
def test_layer_supports_func_transforms_and_jit_trace_and_the_meta_device(torch: Any, ft: Any) -> None:
    theirs, ours = pair(torch, ft, "BatchNorm1d", track_running_stats=False)
    x = data(torch, "BatchNorm1d").detach()
    assert ft.BatchNorm1d(5, device="meta")(x.to("meta")).is_meta
    assert_close(
        torch, torch.func.grad(lambda x: ours(x).exp().sum())(x), torch.func.grad(lambda x: theirs(x).exp().sum())(x)
    )
    assert_close(
        torch, torch.func.vmap(ours)(torch.stack([x, 2 * x])), torch.func.vmap(theirs)(torch.stack([x, 2 * x]))
    )
    _, tangent = torch.func.jvp(ours, (x,), (x,))
    assert tangent.shape == x.shape
    traced = torch.jit.trace(ours, x)
    assert "batch_norm" in str(traced.inlined_graph)
    assert_close(torch, traced(2 * x), theirs(2 * x))


def test_results_with_a_strided_parameter_agree_with_torch(torch: Any, ft: Any) -> None:
    theirs, ours = pair(torch, ft, "BatchNorm1d")
    wide = torch.nn.Parameter(theirs.weight.detach().repeat_interleave(2)[::2])
    assert not wide.is_contiguous()
    ours.weight = wide
    x = data(torch, "BatchNorm1d")
    assert_close(torch, ours(x), theirs(x))


# Properties of a torch.nn module


def test_layer_is_a_subclass_of_torchs_layer_with_the_same_repr_and_state_dict(torch: Any, ft: Any) -> None:
    """The repr of a layer with a ReLU also contains `relu=True`. Copies and pickles keep the ReLU and the buffers."""
    for kind in KINDS:
        theirs, ours = pair(torch, ft, kind)
        assert isinstance(ours, type(theirs)) and str(ours) == str(theirs)
        theirs.load_state_dict(ours.state_dict(), strict=True)
        assert list(ours.state_dict()) == list(theirs.state_dict())
    layer = ft.BatchNorm2d(3, relu=True)
    assert str(layer).endswith("track_running_stats=True, relu=True)")
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(twin) is ft.BatchNorm2d and twin.relu
        assert all(torch.equal(a, b) for a, b in zip(twin.buffers(), layer.buffers(), strict=True))


# Precision


def test_large_means_do_not_reduce_the_precision(torch: Any, ft: Any) -> None:
    x = 1e4 + 1e-2 * torch.randn(64, 3, 8, 8, dtype=torch.float64)
    exact = torch.nn.BatchNorm2d(3, dtype=torch.float64, eps=1e-12)(x.float().double())
    assert (ft.BatchNorm2d(3, eps=1e-12)(x.float()) - exact).abs().max() < 2e-5
