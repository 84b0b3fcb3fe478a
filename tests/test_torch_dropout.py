"""fusedstep's dropout layer behaves like torch's layer, but draws other masks."""

from __future__ import annotations

import copy
import itertools
import pickle
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import fusedstep as fs

P = 0.25
SEEDS = 2**63 - 1  # the layer draws seeds of masks that are less than this number
LAYOUTS = {
    "scalar": lambda t: t.randn(()),
    "empty": lambda t: t.randn(0, 3),
    "vector": lambda t: t.randn(1003),
    "matrix": lambda t: t.randn(17, 33),
    "transposed": lambda t: t.randn(33, 17).t(),
    "permuted": lambda t: t.randn(5, 6, 7).permute(2, 0, 1),
    "channels_last": lambda t: t.randn(3, 4, 5, 6).to(memory_format=t.channels_last),
    "strided": lambda t: t.randn(16, 40)[::2, 3::4],
    "expanded": lambda t: t.randn(1, 9).expand(8, 9),
    "large stride of an axis of length 1": lambda t: t.randn(40).as_strided((1, 9), (31, 1)),
}


@pytest.fixture
def ft(torch: ModuleType) -> Any:
    import fusedstep.torch

    torch.manual_seed(0)
    return fusedstep.torch


def drawn_key(torch: Any, seed: int) -> fs.Key:
    """Set torch's seed, and return the key (the seed) of the first mask that a layer will draw."""
    torch.manual_seed(seed)
    key = fs.Key(int(torch.randint(SEEDS, ())))
    torch.manual_seed(seed)
    return key


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_output_and_gradient_have_the_same_bits_as_those_of_numpy_functions(torch: Any, ft: Any, dtype: str) -> None:
    """The NumPy functions are `fusedstep.dropout` and `fusedstep.dropout_backward`."""
    x = torch.randn(40, 70, dtype=getattr(torch, dtype), requires_grad=True)
    key, dy = drawn_key(torch, 5), torch.randn_like(x)
    torch.manual_seed(5)
    y = ft.Dropout(P)(x)
    y.backward(dy)
    assert np.array_equal(y.detach().numpy(), fs.dropout(x.detach().numpy(), P, key))
    assert np.array_equal(x.grad.numpy(), fs.dropout_backward(dy.numpy(), P, key))
    assert 0.2 < (y == 0).double().mean() < 0.3


@pytest.mark.parametrize("layout", LAYOUTS)
def test_dropout_is_correct_in_every_layout(torch: Any, ft: Any, layout: str) -> None:
    x = LAYOUTS[layout](torch).requires_grad_()
    y = ft.Dropout(0.5)(x)
    assert y.stride() == torch.empty_like(x).stride()
    kept = y != 0
    assert torch.equal(y, torch.where(kept, 2 * x, 0))
    if x.numel() >= 50:  # at least one of so many elements is dropped
        assert not kept.all()
    # the mask is the same for gradients of every layout
    for order in itertools.islice(itertools.permutations(range(x.dim())), 3):
        dy = torch.randn(x.permute(order).shape).permute(np.argsort(order).tolist())
        (dx,) = torch.autograd.grad(y, x, dy, retain_graph=True)
        assert torch.equal(dx, torch.where(kept, 2 * dy, 0))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_dropout_in_place_is_correct_in_every_layout(torch: Any, ft: Any, layout: str) -> None:
    x, layer = LAYOUTS[layout](torch), ft.Dropout(0.5, inplace=True)
    if layout == "expanded":  # several elements share memory, so torch refuses the call
        with pytest.raises(RuntimeError, match="single memory location"):
            layer(x)
        return
    before = x.clone()
    assert layer(x) is x
    assert torch.equal(x, torch.where(x != 0, 2 * before, 0))
    if x.numel() >= 50:  # at least one of so many elements is dropped
        assert not x.all()


def test_seed_determines_masks_and_each_call_has_another_mask(torch: Any, ft: Any) -> None:
    layer, x = ft.Dropout(0.5), torch.ones(1000)
    torch.manual_seed(1)
    first, second = layer(x), layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first) and torch.equal(layer(x), second)
    assert not torch.equal(first, second)


def test_evaluation_and_probability_zero_return_the_input_and_draw_no_numbers(torch: Any, ft: Any) -> None:
    x, state = torch.randn(5), torch.get_rng_state()
    assert ft.Dropout(0.5).eval()(x) is x
    assert ft.Dropout(0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_probability_one_gives_positive_zeros_even_for_inf_and_nan(torch: Any, ft: Any) -> None:
    x = torch.tensor([1.0, -2.0, float("inf"), float("nan")])
    y = ft.Dropout(1.0)(x)
    assert torch.equal(y, torch.zeros(4)) and not torch.signbit(y).any()


def test_first_and_second_gradients_agree_with_finite_differences(torch: Any, ft: Any) -> None:
    layer, x = ft.Dropout(P), torch.randn(6, 7, dtype=torch.float64, requires_grad=True)

    def drop(x: Any) -> Any:
        torch.manual_seed(3)
        return layer(x)

    assert torch.autograd.gradcheck(drop, x)
    assert torch.autograd.gradgradcheck(lambda x: drop(x) ** 2, x)


def test_no_graph_is_recorded_if_no_gradient_is_needed(torch: Any, ft: Any) -> None:
    x = torch.randn(9, requires_grad=True)
    with torch.no_grad():
        assert not ft.Dropout(P)(x).requires_grad
    with torch.inference_mode():
        assert ft.Dropout(P)(x).is_inference()
        z = torch.ones(50)
        assert ft.Dropout(P, inplace=True)(z) is z and (z == 0).any()
    assert not ft.Dropout(P)(x.detach()).requires_grad


# Dropout in place


def test_autograd_detects_dropout_in_place(torch: Any, ft: Any) -> None:
    x = torch.randn(50, requires_grad=True)
    saved = x.exp()  # the gradient of exp needs the output of exp
    ft.Dropout(P, inplace=True)(saved).sum()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        saved.sum().backward()
    plain = torch.randn(50)
    product = (x * plain).sum()  # the gradient of the product needs plain
    ft.Dropout(P, inplace=True)(plain)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


def test_inplace_dropout_of_leaves_is_refused_as_in_torch(torch: Any, ft: Any) -> None:
    x = torch.ones(50, requires_grad=True)
    for tensor in (x, x[3:]):  # a leaf, and a view of the leaf
        with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
            ft.Dropout(P, inplace=True)(tensor)
    assert torch.equal(x, torch.ones(50))


def test_inplace_dropout_of_a_view_changes_the_base(torch: Any, ft: Any) -> None:
    x = torch.ones(4, 50, requires_grad=True)
    hidden = x * 1
    ft.Dropout(P, inplace=True)(hidden[1:3])
    hidden.sum().backward()
    # Each element of `hidden` is an element of x times a factor. The gradient of x is this factor, and x is 1.
    assert torch.equal(hidden.detach(), x.grad) and (x.grad == 0).any() and (x.grad[0] == 1).all()


def test_inplace_dropout_of_a_strided_view_does_not_change_other_elements(torch: Any, ft: Any) -> None:
    x = torch.ones(100)
    y = ft.Dropout(0.5, inplace=True)(x[::2])
    assert (x[1::2] == 1).all() and torch.equal(x[::2], y) and (y == 0).any() and (y == 2).any()


# Calls in which the code of torch's layer runs


def test_unsupported_dtypes_give_torchs_error(torch: Any, ft: Any) -> None:
    with pytest.raises(NotImplementedError, match="ComplexFloat"):
        ft.Dropout(0.5)(torch.ones(3, dtype=torch.complex64))


def test_layer_supports_other_devices_negative_views_and_subclasses_of_tensor(torch: Any, ft: Any) -> None:
    """The values of a negative view are the numbers in memory, multiplied by -1."""
    assert ft.Dropout(P)(torch.ones(3, device="meta")).is_meta
    mirrored = torch.randn(20, dtype=torch.complex64).conj().imag
    assert mirrored.is_neg()
    y = ft.Dropout(0.5)(mirrored)
    assert torch.equal(y[y != 0], 2 * mirrored[y != 0])

    class Mine(torch.Tensor):  # type: ignore[misc, name-defined]
        pass

    assert type(ft.Dropout(P)(torch.ones(3).as_subclass(Mine))) is Mine


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's forward mode uses torch.jit, which warns
def test_layer_works_under_torch_func_and_forward_mode_differentiation(torch: Any, ft: Any) -> None:
    layer, x = ft.Dropout(P), torch.ones(6, 50)
    assert torch.func.grad(lambda x: layer(x).sum())(x).shape == x.shape
    assert torch.func.vmap(layer, randomness="different")(x).shape == x.shape
    _, tangent = torch.func.jvp(layer, (x,), (x,))
    assert set(tangent.unique().tolist()) <= {0.0, float(torch.tensor(1) / (1 - P))}
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x)
        assert torch.autograd.forward_ad.unpack_dual(layer(dual)).tangent is not None


@pytest.mark.filterwarnings("ignore")  # a warning of torch.jit
def test_a_trace_records_torchs_dropout(torch: Any, ft: Any) -> None:
    """Each call of the trace has another mask."""
    traced = torch.jit.trace(ft.Dropout(0.5), torch.ones(50), check_trace=False)
    assert "dropout" in str(traced.graph)
    assert not torch.equal(traced(torch.ones(50)), traced(torch.ones(50)))


# Properties of a torch.nn module


def test_layer_is_a_subclass_of_torchs_layer_with_the_same_repr_and_can_be_copied(torch: Any, ft: Any) -> None:
    """The layer's state dict is empty. As in torch, a probability above 1 is refused."""
    layer = ft.Dropout(0.3, inplace=True)
    assert isinstance(layer, torch.nn.Dropout) and str(layer) == "Dropout(p=0.3, inplace=True)"
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(twin) is ft.Dropout and (twin.p, twin.inplace) == (0.3, True)
    assert not layer.state_dict()
    with pytest.raises(ValueError, match="between 0 and 1"):
        ft.Dropout(1.5)


def test_dropout_probability_may_change(torch: Any, ft: Any) -> None:
    """The next call uses the new probability. If it is above 1, the call is refused."""
    layer, x = ft.Dropout(0.5), torch.ones(4000)
    layer.p = 0.1
    assert (layer(x) == 0).double().mean() < 0.15
    layer.p = 2.0
    with pytest.raises(ValueError, match="from 0 to 1"):
        layer(x)
