"""Adafactor keeps second moments of each row and column of a gradient. Row-wise Adagrad keeps one number per row.

The steps of both optimizers have the same bits for any number of threads.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.optim import _reference
from support.bits import Array, assert_same_bits, numbers
from support.machines import MACHINES, running
from support.torch_cases import ours, theirs

every_class = pytest.mark.parametrize("cls", [fs.Adafactor, fs.RowwiseAdagrad])
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SHAPES: list[tuple[int, ...]] = [(300, 70), (1, 9), (9, 1), (4, 3, 3, 3), (2, 130, 40), (17,), (), (0, 3), (400, 5)]
OPTIONS: dict[Any, list[dict[str, Any]]] = {
    fs.Adafactor: [
        {},
        {"lr": 0.05, "weight_decay": 0.1},
        {"beta2_decay": -1.0, "d": 1.5, "eps": (1e-3, 1e-2)},
    ],
    fs.RowwiseAdagrad: [{}, {"lr_decay": 0.1, "eps": 1e-3, "initial_accumulator_value": 0.5}],
}


def sum_of_squares(x: Array) -> float:
    """Return the sum of the squares of one row, added in the same order as in the kernels."""
    squares = x.astype(np.float64) ** 2
    if x.size < _reference.LANES:
        return float(sum(squares.tolist(), 0.0))
    lanes = np.zeros(_reference.LANES)
    for first in range(0, x.size, _reference.LANES):
        part = squares[first : first + _reference.LANES]
        lanes[: part.size] += part
    while lanes.size > 1:
        lanes = lanes[: lanes.size // 2] + lanes[lanes.size // 2 :]
    return float(lanes[0])


def sums_of_columns(x: Array) -> Array:
    """Return the sums of squares of the columns of a matrix.

    As in the kernels, each block of 128 rows is added up first. Then the sums of the blocks are added up.
    """
    total = np.zeros(x.shape[1])
    for first in range(0, len(x), 128):
        part = np.zeros(x.shape[1])
        for row in x[first : first + 128].astype(np.float64):
            part += row**2
        total += part
    return total


def transcribed(cls: Any, g: Array, state: dict[str, Array], t: int, group: Any) -> Array:
    """Return the array that step number `t` with the gradient `g` multiplies by `lr`. Update the arrays in `state`."""
    c, n = g.dtype.type, g.shape[-1] if g.ndim else 1
    if cls is fs.RowwiseAdagrad:
        rows, total = g.reshape(state["sum"].size, -1), state["sum"]
        means = np.array([sum_of_squares(row) / rows.shape[1] for row in rows]).astype(c).reshape(total.shape)
        total[...] = total + means
        rate = c(1.0 / (1.0 + (t - 1) * group["lr_decay"])) / (np.sqrt(total) + c(group["eps"]))
        return (rows * rate.reshape(-1, 1)).reshape(g.shape)
    weight = c(_reference.real_power(t, group["beta2_decay"]))
    eps = group["eps"][0] if group["eps"][0] is not None else float(np.finfo(c).eps)
    if g.ndim < 2:
        v = state["variance"]
        v[...] = v + weight * (g * g - v)
    else:
        row, column, matrices = state["row_var"], state["col_var"], g.reshape(-1, *g.shape[-2:])
        of_rows = np.array([[sum_of_squares(r) / n for r in m] for m in matrices]).astype(c).reshape(row.shape)
        of_columns = np.array([sums_of_columns(m) / g.shape[-2] for m in matrices]).astype(c).reshape(column.shape)
        row[...] = row + weight * (of_rows - row)
        column[...] = column + weight * (of_columns - column)
        sums = np.array([sum(r.astype(np.float64).tolist(), 0.0) for r in row.reshape(-1, g.shape[-2])])
        mean = np.maximum(sums / g.shape[-2], eps).astype(c).reshape(*g.shape[:-2], 1, 1)
        v = row / mean * column
    return np.asarray(g / np.sqrt(np.maximum(v, c(eps * eps))))


@every_dtype
@every_class
def test_adafactor_and_rowwise_adagrad_have_the_bits_of_their_numpy_references(
    cls: Any, dtype: Any, rng: np.random.Generator
) -> None:
    """After three steps, parameters and states are compared with those that `transcribed` computes with NumPy."""
    for k, options in enumerate(OPTIONS[cls]):
        start = [numbers(rng, int(np.prod(s)), dtype).reshape(s) for s in SHAPES]
        grads = [[numbers(rng, int(np.prod(s)), dtype).reshape(s) for s in SHAPES] for _ in range(3)]
        want, opt = [p.copy() for p in start], cls([p.copy() for p in start], **options)
        states = [{n: a.copy() for n, a in s.items()} for s in opt.state.values()]
        for t, grads_of_step in enumerate(grads, 1):
            for i, g in enumerate(grads_of_step):
                if g.size:
                    direction = transcribed(cls, g, states[i], t, opt.groups[0])
                    want[i] = np.asarray(
                        _reference.step(cls, want[i], direction, {}, t, opt.groups[0]["lr"], opt.groups[0])
                    )
        for machine in MACHINES if k == 0 else MACHINES[:1]:
            with running(machine):
                got = [p.copy() for p in start]
                opt = cls(got, **options)
                for grads_of_step in grads:
                    opt.step([g.copy() for g in grads_of_step])
            for i, p in enumerate(got):
                assert_same_bits(p, want[i], (machine, i, options))
                for name, a in opt.state[i].items():
                    assert_same_bits(a, states[i][name], (machine, i, name))


@every_class
def test_strided_and_16_bit_gradients_give_the_step_of_contiguous_float32_gradients(
    cls: Any, rng: np.random.Generator
) -> None:
    """A step changes a float16 parameter, whose states are float32. The option `state_dtype="bfloat16"` is refused."""
    p, g = rng.standard_normal((2, 30, 40)).astype(np.float32)
    plain, strided, with_float16, with_float32 = p.copy(), np.asfortranarray(p), p.copy(), p.copy()
    cls([plain]).step([g])
    cls([strided]).step([np.asfortranarray(g)])
    np.testing.assert_array_equal(plain, strided)
    cls([with_float16]).step([g.astype(np.float16)])
    cls([with_float32]).step([g.astype(np.float16).astype(np.float32)])
    assert with_float16.tobytes() == with_float32.tobytes()
    narrow = p.astype(np.float16)
    opt_of_float16 = cls([narrow])
    opt_of_float16.step([g.astype(np.float16)])
    assert {a.dtype for a in opt_of_float16.state[0].values()} == {np.dtype(np.float32)}
    assert (narrow != p.astype(np.float16)).any(), "the step must change the float16 parameter"
    with pytest.raises(ValueError, match='state_dtype must be "float32" or None'):
        cls([with_float32], state_dtype="bfloat16")


def test_adafactor_does_not_change_a_row_whose_gradients_are_zero() -> None:
    p, g = np.ones((3, 4), np.float32), np.ones((3, 4), np.float32)
    g[1] = 0
    for eps in ((None, 1e-3), (1e-30, 1e-3)):
        fs.Adafactor([p], eps=eps).step([g])
        assert (p[1] == 1).all()
        assert (p[0] < 1).all()


def stepped(cls: Any, rng_seed: int = 5, scale: float = 1.0, **step: Any) -> tuple[Array, Array, Any]:
    """Take two steps, with gradients that are multiplied by `scale`. Return both parameters and the last result."""
    rng = np.random.default_rng(rng_seed)
    w, b = rng.standard_normal((8, 5)), rng.standard_normal(5)
    opt = cls([w, b], lr=0.1)
    for _ in range(2):
        info = opt.step([scale * rng.standard_normal((8, 5)), scale * rng.standard_normal(5)], **step)
    return w, b, info


@every_class
def test_grad_scale_divides_gradients_and_clipping_limits_them(cls: Any) -> None:
    """The loop has pairs of arguments for `stepped`. The two dicts of a pair must give equal parameters."""
    for step, equivalent in (
        ({"grad_scale": 4.0, "scale": 4.0}, {}),
        ({"clip_norm": 1e9}, {}),
        ({"clip_value": 0.5, "grad_scale": 2.0, "scale": 2.0}, {"clip_value": 0.5}),
    ):
        for a, b in zip(stepped(cls, **step)[:2], stepped(cls, **equivalent)[:2], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=str(step))
    assert stepped(cls, clip_norm=2.0)[2].clip_coef < 1
    assert (stepped(cls, clip_value=0.5)[0] != stepped(cls)[0]).any()


@every_class
def test_steps_that_are_skipped_or_refused_change_nothing(cls: Any, rng: np.random.Generator) -> None:
    """A step with inf in a gradient is skipped. A step is refused if a gradient has a wrong shape or is missing.

    Then a correct step changes a parameter and zeroes the gradients.
    """
    w, b = rng.standard_normal((8, 5)), rng.standard_normal(5)
    opt = cls([w, b])
    opt.step([np.ones((8, 5)), np.ones(5)])
    everything = [w, b, *(a for entry in opt.state.values() for a in entry.values())]
    before = [a.tobytes() for a in everything]
    assert opt.step([np.full((8, 5), np.inf), np.ones(5)], skip_nonfinite=True).skipped
    for wrong in ([np.ones((8, 5)), np.ones(4)], [np.ones((5, 8)), np.ones(5)], [np.ones((8, 5))]):
        with pytest.raises(ValueError, match=rf"^{cls.__name__}\.step: grads"):
            opt.step(wrong)
    everything = [w, b, *(a for entry in opt.state.values() for a in entry.values())]
    assert [a.tobytes() for a in everything] == before
    grads = [np.ones((8, 5)), np.ones(5)]
    opt.step(grads, zero_grads=True)
    assert not any(g.any() for g in grads)
    assert w.tobytes() != before[0]


@every_class
def test_resumed_training_has_the_bits_of_uninterrupted_training(
    cls: Any, rng: np.random.Generator, tmp_path: Any
) -> None:
    """A new optimizer loads the state that was saved after two of four steps. A state of a wrong shape is refused."""
    shapes = [(4, 3), (2, 3, 5), (3,), ()]
    start = [rng.standard_normal(s) for s in shapes]
    grads = [[np.asarray(rng.standard_normal(s)) for s in shapes] for _ in "1234"]
    uninterrupted, resumed = [np.array(p) for p in start], [np.array(p) for p in start]
    opt, first = cls(uninterrupted), cls(resumed)
    for g in grads:
        opt.step(g)
    for g in grads[:2]:
        first.step(g)
    first.save(tmp_path / "state.safetensors")
    rest = cls(resumed)
    rest.load(tmp_path / "state.safetensors")
    for g in grads[2:]:
        rest.step(g)
    assert [a.tobytes() for a in uninterrupted] == [a.tobytes() for a in resumed]
    saved = first.state_dict()
    saved["state"][0] = {n: a[..., :2] for n, a in saved["state"][0].items()}
    with pytest.raises(ValueError, match=r"load_state_dict: state\[0\]"):
        rest.load_state_dict(saved)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta2_decay": 0.1}, "beta2_decay must be at most 0; got 0.1"),
        ({"d": 0.5}, "d must be at least 1; got 0.5"),
        ({"eps": 1e-3}, "eps must be a pair of numbers; got 0.001"),
        ({"eps": (None, -1.0)}, r"eps\[1\] must be at least 0; got -1.0"),
    ],
)
def test_adafactor_refuses_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"Adafactor: {message}"):
        fs.Adafactor([np.ones((2, 2))], **options)


def test_rowwise_adagrad_equals_adagrad_if_rows_have_one_element(rng: np.random.Generator) -> None:
    (p, q), g = np.ones((2, 50)), rng.standard_normal(50)
    opt, other = fs.RowwiseAdagrad([p], lr=0.1), fs.Adagrad([q], lr=0.1)
    for _ in range(3):
        opt.step([g])
        other.step([g])
    np.testing.assert_allclose(p, q, rtol=1e-12)


@every_dtype
def test_steps_with_rows_and_with_dense_gradients_agree(dtype: Any, rng: np.random.Generator) -> None:
    """`Rows` holds some rows of a gradient. The other rows are zero.

    Rows with the same index are added up. `grad_scale` and `clip_norm` act on these sums.
    """
    rows = [fs.Rows(rng.integers(0, 20, 30), rng.standard_normal((30, 4, 2)).astype(dtype)) for _ in range(3)]
    table, dense = np.ones((2, 20, 4, 2), dtype)
    w, v = np.ones((2, 5), dtype)
    opt, other = fs.RowwiseAdagrad([table, w], lr=0.1), fs.RowwiseAdagrad([dense, v], lr=0.1)
    for given in rows:
        g = np.zeros_like(dense)
        np.add.at(g, given.indices, given.values)
        b = rng.standard_normal(5).astype(dtype)
        infos = [o.step([x, b], clip_norm=2.0, grad_scale=2.0) for o, x in ((opt, given), (other, g))]
        assert infos[0].grad_norm == pytest.approx(infos[1].grad_norm, rel=1e-6)
    np.testing.assert_allclose(table, dense, rtol=1e-5 if dtype == np.float32 else 1e-12)
    np.testing.assert_allclose(opt.state[0]["sum"], other.state[0]["sum"], rtol=1e-5)
    assert_same_bits(w, v) if dtype == np.float64 else np.testing.assert_allclose(w, v, rtol=1e-6)


def test_a_refused_gradient_leaves_all_parameters_and_states_unchanged() -> None:
    """A step is refused if `Rows` have a wrong index or a dense gradient has a wrong shape. A correct step then works.

    If the optimizer has weight_decay, all `Rows` are refused.
    """
    table, w = np.ones((4, 2)), np.ones(3)
    opt = fs.RowwiseAdagrad([table, w])
    for rows, g, message in (
        (fs.Rows([4], np.ones((1, 2))), np.ones(3), r"grads\[0\] must have indices from 0 to 3; got 4"),
        (fs.Rows([1], np.ones((1, 2))), np.ones(4), r"grads\[1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            opt.step([rows, g], zero_grads=True)
    assert (table == 1).all() and (w == 1).all()
    assert not opt.state[0]["sum"].any() and not opt.state[1]["sum"].any()
    given = fs.Rows([1], np.ones((1, 2)))
    opt.step([given, np.ones(3)], zero_grads=True)
    assert opt.state[0]["sum"].tolist() == [0, 1, 0, 0]
    assert not given.values.any(), "zero_grads must zero the rows"
    with pytest.raises(ValueError, match="must be dense if the optimizer has weight_decay="):
        fs.RowwiseAdagrad([table], weight_decay=0.1).step([fs.Rows([1], np.ones((1, 2)))])


def leaves(torch: Any, shapes: list[tuple[int, ...]], dtype: Any, seed: int = 1) -> list[Any]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=generator, dtype=dtype).requires_grad_() for s in shapes]


def train(torch: Any, opt: Any, tensors: list[Any], steps: int, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for p in tensors:
            p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float32).to(p.dtype)
        opt.step()


TORCH_SHAPES: list[tuple[int, ...]] = [(20, 30), (6, 4, 3, 3), (5, 1), (17,), ()]


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options", [*OPTIONS[fs.Adafactor], {"maximize": True}], ids=lambda o: ", ".join(o) or "default"
)
def test_adafactor_agrees_with_torchs_adafactor_after_100_steps(options: Any, dtype: str, torch: Any) -> None:
    """Both optimizers get equal gradients. Their parameters and states are compared."""
    mine, other = (leaves(torch, TORCH_SHAPES, getattr(torch, dtype)) for _ in range(2))
    opt, reference = ours("Adafactor")(mine, **options), theirs("Adafactor")(other, **options)
    train(torch, opt, mine, 100)
    train(torch, reference, other, 100)
    tolerance = 1e-6 if dtype == "float32" else 1e-12
    for p, q in zip(mine, other, strict=True):
        torch.testing.assert_close(p, q, rtol=tolerance, atol=tolerance)
    for entry, want in zip(opt.state.values(), reference.state.values(), strict=True):
        assert set(entry) == set(want)
        for name, value in want.items():
            torch.testing.assert_close(entry[name], value, rtol=10 * tolerance, atol=tolerance)


@pytest.mark.torch
@every_class
def test_steps_of_torch_tensors_and_numpy_arrays_have_the_same_bits(cls: Any, torch: Any) -> None:
    """Only with `clip_norm`, the last bits may differ. After a step, each `p.grad` is still the same tensor."""
    for options in (
        {"clip_norm": 0.7},
        {"clip_value": 0.3, "zero_grads": True},
        {"ema_decay": 0.5},
        {"maximize": True},
    ):
        tensors = leaves(torch, [(8, 5), (5,)], torch.float32)
        arrays = [p.detach().numpy().copy() for p in tensors]
        of_step = {n: v for n, v in options.items() if n in ("clip_norm", "clip_value", "zero_grads")}
        opt = ours(cls.__name__)(tensors, lr=0.1, **options)
        arrays_opt = cls(arrays, lr=0.1, **{n: v for n, v in options.items() if n not in of_step})
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
            if "clip_norm" in options:  # the last bits of the norms may differ between torch and NumPy
                np.testing.assert_allclose(a, p.detach().numpy(), rtol=1e-5)
            else:
                assert_same_bits(p.detach().numpy(), a, options)


@pytest.mark.torch
def test_states_of_adafactor_load_into_torchs_adafactor_and_back(torch: Any) -> None:
    """After three steps, a step with nan in a gradient is skipped, and changes no state.

    Then torch's Adafactor loads the state of fusedstep's Adafactor. A new Adafactor of fusedstep loads torch's state.
    Three more steps of torch's Adafactor and of the new Adafactor give parameters that are equal up to rounding.
    """
    mine, other = (leaves(torch, TORCH_SHAPES, torch.float32) for _ in range(2))
    opt, reference = ours("Adafactor")(mine, skip_nonfinite=True), theirs("Adafactor")(other)
    train(torch, opt, mine, 3), train(torch, reference, other, 3)
    mine[0].grad = torch.full((20, 30), torch.nan)
    before = copy.deepcopy(opt.state_dict())
    opt.step()
    assert opt.skipped
    torch.testing.assert_close(opt.state_dict()["state"], before["state"])
    reference.load_state_dict(copy.deepcopy(opt.state_dict()))
    again = ours("Adafactor")(mine)
    again.load_state_dict(copy.deepcopy(reference.state_dict()))
    train(torch, again, mine, 3, seed=1), train(torch, reference, other, 3, seed=1)
    for p, q in zip(mine, other, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)


@pytest.mark.torch
def test_adafactor_keeps_float32_states_for_bfloat16_parameters(torch: Any) -> None:
    """After a state dict is loaded, the states have the saved values and dtypes.

    A state dict with a state of a wrong shape is refused, and changes nothing.
    """
    tensors = leaves(torch, [(8, 5), (5,)], torch.bfloat16)
    opt = ours("Adafactor")(tensors, master_weights=True)
    train(torch, opt, tensors, 3)
    saved = copy.deepcopy(opt.state_dict())
    again = ours("Adafactor")(tensors, master_weights=True)
    again.load_state_dict(saved)
    for entry, want in zip(again.state.values(), saved["state"].values(), strict=True):
        for name in entry.keys() - {"step"}:
            assert entry[name].dtype == want[name].dtype and torch.equal(entry[name], want[name]), name
    assert opt.state[tensors[0]]["row_var"].dtype == torch.float32
    bad = copy.deepcopy(saved)
    bad["state"][0]["row_var"] = torch.ones(3, 1)
    with pytest.raises(ValueError, match=r"state 'row_var' of params\[0\] must be torch.float32 \(8, 1\); got"):
        again.load_state_dict(bad)
    assert again.state[tensors[0]]["row_var"].shape == (8, 1)


@pytest.mark.torch
@pytest.mark.parametrize("coalesced", [False, True])
def test_sparse_torch_gradients_and_rows_of_numpy_arrays_give_the_same_bits(coalesced: bool, torch: Any) -> None:
    """RowwiseAdagrad of fusedstep.torch is compared with fusedstep.RowwiseAdagrad, whose gradients are `Rows`.

    Then a sparse gradient with a wrong index is refused, and changes nothing.
    """
    model = torch.nn.Embedding(12, 3, sparse=True)
    w = torch.nn.Parameter(torch.ones(3))
    arrays = [model.weight.detach().numpy().copy(), np.ones(3, np.float32)]
    opt, arrays_opt = ours("RowwiseAdagrad")([model.weight, w], lr=0.1), fs.RowwiseAdagrad(arrays, lr=0.1)
    for seed in range(4):
        torch.manual_seed(seed)
        opt.zero_grad()
        ((model(torch.randint(0, 12, (9,))) @ w - 1) ** 2).mean().backward()
        gradient = model.weight.grad = model.weight.grad.coalesce() if coalesced else model.weight.grad
        rows = fs.Rows(gradient._indices()[0].numpy(), gradient._values().numpy())
        arrays_opt.step([rows, w.grad.numpy()])
        opt.step()
    assert_same_bits(model.weight.detach().numpy(), arrays[0])
    assert_same_bits(opt.state[model.weight]["sum"].numpy(), arrays_opt.state[0]["sum"])
    before = [model.weight.detach().clone(), opt.state[model.weight]["sum"].clone()]
    model.weight.grad = torch.sparse_coo_tensor([[0, 12]], torch.ones(2, 3), (12, 3), check_invariants=False)
    with pytest.raises(ValueError, match=r"RowwiseAdagrad\.step: grads\[0\] must have indices from 0 to 11; got 12"):
        opt.step()
    assert torch.equal(before[0], model.weight)
    assert torch.equal(before[1], opt.state[model.weight]["sum"])


@pytest.mark.torch
def test_adafactor_refuses_sparse_gradients_and_refuses_to_zero_expanded_gradients(torch: Any) -> None:
    """An expanded gradient has repeated elements: several elements are the same number in memory."""
    p = torch.nn.Parameter(torch.ones(3, 2))
    p.grad = torch.ones(3, 2).to_sparse()
    opt = ours("Adafactor")([p])
    with pytest.raises(RuntimeError, match="must be dense, because sparse gradients are not supported"):
        opt.step()
    p.grad = torch.ones(1, 1).expand(3, 2)
    with pytest.raises(ValueError, match=r"grads\[0\] must be without repeated elements if zero_grads is True"):
        ours("Adafactor")([p], zero_grads=True).step()
    assert (p == 1).all()


@pytest.mark.torch
@every_class
def test_skipped_torch_step_zeroes_gradients_if_zero_grads_is_true(cls: Any, torch: Any) -> None:
    p = torch.nn.Parameter(torch.ones(3, 2))
    opt = ours(cls.__name__)([p], skip_nonfinite=True, zero_grads=True)
    p.grad = torch.full((3, 2), torch.inf)
    opt.step()
    assert opt.skipped
    assert not p.grad.any()
    assert (p == 1).all()
