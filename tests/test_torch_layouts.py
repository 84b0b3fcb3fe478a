"""For any memory layout of parameters, gradients and states, our step is correct.

For most of these layouts, torch's fused kernels give wrong results without an error. Some tests here assert that
torch's results are wrong. If such a test fails, torch has corrected the error.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from support.torch_cases import NAMES, SHARED, every_optimizer, every_shared_optimizer, ours, theirs

SHAPE = (8, 4, 6, 10)
N = 8 * 4 * 6 * 10
DTYPES = ["float32", "float64", "bfloat16", "float16"]
Layout = Callable[[Any], Any]  # returns a tensor with the same numbers in another memory layout


def channels_last(t: Any) -> Any:
    import torch

    return t.to(memory_format=torch.channels_last)


def turned(t: Any) -> Any:
    return t.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)


def every_other(t: Any) -> Any:
    return t.repeat_interleave(2, dim=-1)[..., ::2]


def part_of_a_row(t: Any) -> Any:
    import torch

    return torch.cat([t, t + 1], dim=-1)[..., : t.shape[-1]]


def plain(t: Any) -> Any:
    return t.contiguous()


#: name -> (layout of the parameter, layout of the gradient).
LAYOUTS: dict[str, tuple[Layout, Layout]] = {
    "transposed gradient": (plain, turned),
    "transposed parameter": (turned, plain),
    "gradient with channels last": (plain, channels_last),
    "parameter with channels last": (channels_last, plain),
    "gradient with gaps": (plain, every_other),
    "gradient that is part of a larger tensor": (plain, part_of_a_row),
    "parameter with gaps": (every_other, plain),
    "parameter that is part of a larger tensor": (part_of_a_row, plain),
}
#: Layouts for which torch's fused kernels are correct: parameter and gradient have the same layout, without gaps.
ALIKE = {"transposed": (turned, turned), "channels last": (channels_last, channels_last)}


def fused_in_torch() -> list[str]:
    return [name for name in SHARED if "fused" in inspect.signature(theirs(name)).parameters]


def numbers(seed: int, dtype: Any = None, shape: tuple[int, ...] = SHAPE) -> Any:
    import torch

    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype or torch.float32)


def after_steps(cls: type, layouts: tuple[Layout, Layout], dtype: Any = None, **options: Any) -> Any:
    """Return a parameter after three steps. `layouts` are the layouts of the parameter and of its gradient."""
    lay_param, lay_gradient = layouts
    p = lay_param(numbers(0, dtype)).detach().requires_grad_()
    opt = cls([p], lr=0.1, **options)
    for k in range(3):
        p.grad = lay_gradient(numbers(1 + k, dtype))
        opt.step()
    return p.detach()


@pytest.mark.parametrize("layout", [*LAYOUTS, *ALIKE])
@every_optimizer
def test_every_layout_is_stepped_correctly(name: str, layout: str, torch: Any) -> None:
    """The result has the same bits as for contiguous tensors, in every dtype. It agrees with torch's unfused step."""
    layouts = {**LAYOUTS, **ALIKE}[layout]
    for dtype in (getattr(torch, d) for d in DTYPES):
        got = after_steps(ours(name), layouts, dtype)
        assert torch.equal(got, after_steps(ours(name), (plain, plain), dtype)), dtype
    if name in SHARED:
        want = after_steps(theirs(name), layouts, torch.float64, foreach=False)
        torch.testing.assert_close(after_steps(ours(name), layouts, torch.float64), want)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_torchs_fused_kernels_are_wrong_if_parameter_and_gradient_differ_in_layout(layout: str, torch: Any) -> None:
    """Torch pairs the elements of parameter and gradient in memory order. So most of the updates are wrong."""
    for name in fused_in_torch():
        want = after_steps(theirs(name), LAYOUTS[layout], fused=False, foreach=False)
        torch.testing.assert_close(after_steps(ours(name), LAYOUTS[layout]), want)
        got = after_steps(theirs(name), LAYOUTS[layout], fused=True)
        assert (got - want).abs().mean() > 0.1, f"torch has corrected {name}; write this in docs/torch.md"


@pytest.mark.parametrize("layout", ALIKE)
def test_torchs_fused_kernels_are_correct_if_parameter_and_gradient_have_one_layout(layout: str, torch: Any) -> None:
    for name in fused_in_torch():
        want = after_steps(theirs(name), (plain, plain), fused=False, foreach=False)
        torch.testing.assert_close(after_steps(theirs(name), ALIKE[layout], fused=True), want)


@every_optimizer
def test_gradient_that_is_expanded_from_one_number_is_used_correctly(name: str, torch: Any) -> None:
    """`torch.autograd.grad` of a sum returns an expanded gradient, whose strides are 0."""
    w = numbers(0).requires_grad_()
    (w.grad,) = torch.autograd.grad(w.sum(), w)
    assert w.grad.stride() == (0, 0, 0, 0)
    twin = w.detach().clone().requires_grad_()
    twin.grad = w.grad.contiguous()
    for p in (w, twin):
        ours(name)([p], lr=0.1).step()
    assert torch.equal(w, twin)


def test_torchs_fused_step_reads_past_an_expanded_gradient(torch: Any) -> None:
    memory = numbers(0, shape=(N,))  # the gradient is expanded from the first number; torch's step reads all N numbers
    results = {}
    for cls in (ours("Adam"), theirs("Adam")):
        w = torch.zeros(SHAPE, requires_grad=True)
        w.grad = memory[:1].expand(SHAPE)
        cls([w], lr=0.1, fused=True).step()
        results[cls] = w.detach()
    assert (results[ours("Adam")] == results[ours("Adam")][0, 0, 0, 0]).all()
    assert results[theirs("Adam")].unique().numel() > 1, "torch has corrected this error; write this in docs/torch.md"


@every_optimizer
def test_step_of_a_strided_view_does_not_change_elements_outside_the_view(name: str, torch: Any) -> None:
    memory = torch.ones(8, 8)
    p = memory[:, ::2].requires_grad_()
    p.grad = torch.ones(8, 4)
    ours(name)([p], lr=0.1, maximize=True).step()
    assert (memory[:, 1::2] == 1).all() and (memory[:, ::2] != 1).all()


def test_torchs_fused_step_of_a_strided_view_overwrites_elements_outside_the_view(torch: Any) -> None:
    for name in fused_in_torch():
        memory = torch.ones(8, 8)
        p = memory[:, ::2].requires_grad_()
        p.grad = torch.ones(8, 4)
        theirs(name)([p], lr=0.1, maximize=True, fused=True).step()
        assert (memory[:, 1::2] != 1).any(), f"torch has corrected {name}; write this in docs/torch.md"


@every_optimizer
def test_an_expanded_parameter_is_refused(name: str, torch: Any) -> None:
    """The constructor refuses it. If a parameter is expanded later, the next step is refused."""
    memory = torch.ones(1)
    p = memory.expand(4).requires_grad_()
    need = "must be a tensor whose elements do not share memory with each other"
    with pytest.raises(ValueError, match=rf"{name}: params\[0\] {need}; got .*\(0,\)"):
        ours(name)([p])
    opt = ours(name)([q := torch.ones(4, requires_grad=True)])
    q.data, q.grad = p.detach(), torch.ones(4)
    with pytest.raises(ValueError, match=need):
        opt.step()
    assert memory.item() == 1


def test_torchs_fused_step_of_an_expanded_parameter_overwrites_other_elements(torch: Any) -> None:
    memory = numbers(0, shape=(4,))  # the parameter is expanded from the first number; torch also writes the others
    before = memory.clone()
    p = memory[:1].expand(4).requires_grad_()
    p.grad = torch.ones(4)
    theirs("Adam")([p], lr=0.1, fused=True).step()
    assert (memory[1:] != before[1:]).any(), "torch has corrected this error; write this in docs/torch.md"


def test_loaded_states_of_another_layout_are_used_correctly(torch: Any) -> None:
    """The checkpoint is from a model with channels last. The resumed model has the default layout.

    Torch's fused step gives a wrong result.
    """

    def resumed(cls: type, **options: Any) -> Any:
        source = channels_last(numbers(0)).requires_grad_()
        opt = theirs("Adam")([source], lr=0.1)
        source.grad = channels_last(numbers(1))
        opt.step()
        p = plain(source.detach()).requires_grad_()
        again = cls([p], lr=0.1, **options)
        again.load_state_dict(copy.deepcopy(opt.state_dict()))
        again.param_groups[0].update(options)
        p.grad = numbers(2)
        again.step()
        return p.detach()

    want = resumed(theirs("Adam"), foreach=False, fused=False)
    torch.testing.assert_close(resumed(ours("Adam")), want)
    wrong = resumed(theirs("Adam"), foreach=False, fused=True)
    assert (wrong - want).abs().mean() > 0.01, "torch has corrected this error; write this in docs/torch.md"


def test_state_of_another_shape_is_refused(torch: Any) -> None:
    w = torch.zeros(64, requires_grad=True)
    w.grad = torch.ones(64)
    opt = theirs("Adam")([w], fused=True)
    opt.step()
    saved = copy.deepcopy(opt.state_dict())
    saved["state"][0]["exp_avg"] = torch.zeros(8, 8)
    opt.load_state_dict(copy.deepcopy(saved))  # torch accepts the wrong shape
    opt.step()
    with pytest.raises(ValueError, match=r"state 'exp_avg' of params\[0\] must be torch.float32 \(64,\); got .*8, 8"):
        ours("Adam")([w]).load_state_dict(saved)


# Shared memory


@every_optimizer
def test_parameters_that_are_views_of_one_buffer_are_stepped_correctly(name: str, torch: Any) -> None:
    """The parameters are views of one buffer, and the gradients are views of another buffer.

    For example, DistributedDataParallel can create such gradients.
    """
    weights, bucket = numbers(0, shape=(100,)), numbers(1, shape=(100,))
    want = weights.clone().requires_grad_()
    want.grad = bucket.clone()
    params = [p.detach().requires_grad_() for p in (weights[:60].view(10, 6), weights[60:61].view(()), weights[61:])]
    for p, g in zip(params, bucket.split([60, 1, 39]), strict=True):
        p.grad = g.view(p.shape)
    ours(name)([want], lr=0.1).step(), ours(name)(params, lr=0.1, zero_grads=True).step()
    assert torch.equal(weights, want.detach()) and not bucket.any()


def test_parameters_and_gradients_that_overlap_are_refused(torch: Any) -> None:
    """In the first case, two parameters overlap. In the second case, a parameter and its gradient overlap."""
    memory = torch.ones(100)
    a, b = memory[:60].requires_grad_(), memory[40:].detach().requires_grad_()
    opt = ours("Adam")([a, b], lr=0.1)
    a.grad, b.grad = torch.ones(60), torch.ones(60)
    with pytest.raises(ValueError, match=r"Adam: params\[1\] must not share memory with params\[0\]"):
        opt.step()
    opt = ours("SGD")([a], lr=0.1)
    a.grad = memory[30:90]
    with pytest.raises(ValueError, match=r"SGD\.step: grads\[0\] must be in memory of its own; got memory shared with"):
        opt.step()
    assert (memory == 1).all()


@every_optimizer
def test_tied_weights_take_one_step(name: str, torch: Any) -> None:
    """An embedding and the last layer share one parameter. Its gradient is the sum of the two layers' gradients."""
    embed, out = torch.nn.Embedding(7, 5), torch.nn.Linear(5, 7, bias=False)
    out.weight = embed.weight
    model = torch.nn.ModuleList([embed, out])
    twin = embed.weight.detach().clone().requires_grad_()
    opt, other = ours(name)(model.parameters(), lr=0.1), ours(name)([twin], lr=0.1)
    assert len(opt.param_groups[0]["params"]) == 1
    words = torch.tensor([1, 2, 3])
    for _ in range(2):
        out(embed(words)).square().sum().backward()
        twin.grad = embed.weight.grad.clone()
        opt.step(), other.step()
        assert torch.equal(embed.weight, twin) and out.weight is embed.weight
        opt.zero_grad()


# Unsupported tensors, and tensors with at most one element


@every_shared_optimizer
def test_constructor_refuses_parameters_that_the_kernels_do_not_support(name: str, torch: Any) -> None:
    refused = {
        r"a dense tensor in the CPU's memory; got torch.float32 \(3,\) on meta": torch.ones(3, device="meta"),
        r"float32, float64, bfloat16 or float16; got torch.complex64 \(3,\)": torch.ones(3, dtype=torch.complex64),
        r"float32, float64, bfloat16 or float16; got torch.float8_e5m2 \(3,\)": torch.ones(3).to(torch.float8_e5m2),
        r"a dense tensor in the CPU's memory; got torch.float32 \(3,\) with layout torch.sparse_coo": (
            torch.ones(3).to_sparse()
        ),
    }
    for message, tensor in refused.items():
        with pytest.raises((TypeError, ValueError), match=rf"{name}: params\[0\] must be {message}"):
            ours(name)([tensor.requires_grad_()])


@every_optimizer
def test_sparse_gradients_are_refused_before_anything_is_written(name: str, torch: Any) -> None:
    """Optimizers that support sparse gradients refuse them if `weight_decay` is not 0. So the test sets it to 0.1."""
    params = [torch.ones(3, requires_grad=True) for _ in range(2)]
    opt = ours(name)(params, lr=0.1)
    params[0].grad, params[1].grad = torch.ones(3), torch.ones(3).to_sparse()
    message = rf"{name}\.step: grads\[1\] must be dense"
    if ours(name).kernel.takes_rows:
        opt.param_groups[0]["weight_decay"], message = (
            0.1,
            rf"{name}\.step: grads\[1\] must be dense if the optimizer has weight_decay=",
        )
    with pytest.raises(RuntimeError, match=message):
        opt.step()
    assert all((p == 1).all() for p in params)


def test_a_gradient_at_an_address_that_is_not_aligned_is_refused(torch: Any) -> None:
    p = torch.ones(8, requires_grad=True)
    p.grad = torch.frombuffer(bytearray(36), dtype=torch.float32, offset=1, count=8)
    with pytest.raises(ValueError, match=r"SGD\.step: grads\[0\] must be aligned to the size of its items; got"):
        ours("SGD")([p], lr=0.1).step()
    assert (p == 1).all()


def test_parameters_without_elements_or_with_one_element_can_be_stepped(torch: Any) -> None:
    for name in NAMES:
        params = [torch.ones(shape, requires_grad=True) for shape in ((), (0,), (3, 0, 2), (1,), (1, 1))]
        for p in params:
            p.grad = torch.ones_like(p)
        opt = ours(name)(params, lr=0.1)
        opt.step()
        assert params[0].item() == params[3].item() == params[4].item() != 1
