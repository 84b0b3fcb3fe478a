"""A gradient of type `fs.Rows` contains only some rows. A step changes only these rows of the parameter.

If a row occurs more than once, its gradients are added up in the order in which they occur.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from support.bits import Array
from support.machines import MACHINES, running
from support.torch_cases import ours, theirs

CLASSES = [cls for cls in fs.optim.registry.values() if cls.takes_rows and cls.element_wise]
every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SHAPE = (3000, 17)


def rows_of(rng: np.random.Generator, dtype: Any, n: int = 2500, shape: tuple[int, ...] = SHAPE) -> fs.Rows:
    """Return a gradient with `n` random rows, all with even indices, for a parameter of this shape.

    Many rows occur more than once.
    """
    return fs.Rows(rng.integers(0, shape[0] // 2, n) * 2, rng.standard_normal((n, *shape[1:])).astype(dtype))


def summed(rows: fs.Rows, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Return the gradient as a dense array, and the indices of the rows that have a gradient.

    Gradients of the same row are added up in the order in which they occur in `rows`.
    """
    dense = np.zeros(shape, rows.values.dtype)
    for i, value in zip(rows.indices, rows.values, strict=True):
        dense[i] = dense[i] + value if dense[i].any() else value
    return dense, np.unique(rows.indices)


@every_dtype
@every_class
def test_step_with_rows_has_the_bits_of_a_dense_numpy_step_on_only_these_rows(
    cls: Any, dtype: Any, rng: np.random.Generator
) -> None:
    """The expected bits come from the optimizer's formula in NumPy.

    NumPy negates the gradient (`maximize`), divides it by `grad_scale`, and clips it by value. Then it updates an array
    that contains only the rows with a gradient.
    """
    start, steps = rng.standard_normal(SHAPE).astype(dtype), [rows_of(rng, dtype) for _ in range(3)]
    for machine in MACHINES:
        with running(machine):
            table = start.copy()
            opt = cls([table], lr=0.1, maximize=True)
            want, state = start.copy(), {n: a.copy() for n, a in opt.state[0].items()}
            for t, rows in enumerate(steps, 1):
                opt.step([rows], grad_scale=4.0, clip_value=0.25)
                dense, touched = summed(rows, SHAPE)
                part, of_part = want[touched], {n: a[touched] for n, a in state.items()}
                g = np.clip(dense[touched] * dtype(-0.25), -dtype(0.25), dtype(0.25))
                want[touched] = cls.reference(part, g, of_part, t, 0.1, opt.groups[0])
                for name, a in of_part.items():
                    state[name][touched] = a
            assert table.tobytes() == want.tobytes(), machine
            assert all(opt.state[0][n].tobytes() == a.tobytes() for n, a in state.items()), machine


def test_sgd_subtracts_any_number_of_rows_in_any_order(rng: np.random.Generator) -> None:
    for index in ([], [5], [0, 1, 2], [7, 7, 7], list(range(9, -1, -1))):
        table, values = np.zeros((10, 3)), rng.standard_normal((len(index), 3))
        fs.SGD([table], lr=1.0).step([fs.Rows(index, values)])
        want = np.zeros((10, 3))
        np.subtract.at(want, np.array(index, int), values)
        np.testing.assert_allclose(table, want, rtol=1e-15)


@every_class
def test_gradients_of_three_kinds_in_one_step_are_clipped_by_their_common_norm(
    cls: Any, rng: np.random.Generator
) -> None:
    """The gradients of `table`, `w` and `alone` are an `fs.Rows`, an array and None. `alone` is unchanged."""
    table, w, alone = rng.standard_normal((40, 5)), rng.standard_normal(6), rng.standard_normal((40, 5))
    opt = cls({"table": table, "w": w, "alone": alone}, lr=0.1)
    rows, g, before = rows_of(rng, np.float64, 30, (40, 5)), rng.standard_normal(6), alone.copy()
    info = opt.step({"table": rows, "w": g, "alone": None}, clip_norm=0.5)
    dense, touched = summed(rows, (40, 5))
    norm = np.sqrt((dense**2).sum() + (g**2).sum())
    assert info.grad_norm == pytest.approx(norm, rel=1e-12)
    assert info.clip_coef == pytest.approx(0.5 / norm, rel=1e-5)
    assert (alone == before).all()
    assert opt._plan.tensor_steps == [1, 1, 0] and opt.steps == 1
    assert len(touched) < 40
    if cls is fs.SparseAdam:  # only rows with even indices have gradients, so the state of row 1 stays zero
        assert not opt.state["table"]["exp_avg"][1].any()


@every_class
def test_step_is_skipped_if_a_row_is_not_finite(cls: Any) -> None:
    """The parameter and its number of steps do not change. `zero_grads` zeroes the gradient of a skipped step too."""
    table = np.ones((4, 2))
    opt = cls([table])
    rows = fs.Rows([1, 2], np.array([[1.0, np.inf], [1.0, 1.0]]))
    assert opt.step([rows], skip_nonfinite=True, zero_grads=True).skipped
    assert (table == 1).all()
    assert not rows.values.any(), "zero_grads must zero the gradient"
    assert opt._plan.tensor_steps == [0]


@every_class
def test_resumed_training_with_rows_has_the_bits_of_uninterrupted_training(cls: Any, rng: np.random.Generator) -> None:
    """The state dict is taken after two of four steps, and loaded into a new optimizer."""
    steps = [rows_of(rng, np.float32) for _ in range(4)]
    uninterrupted, resumed = np.ones(SHAPE, np.float32), np.ones(SHAPE, np.float32)
    opt, first = cls([uninterrupted]), cls([resumed])
    for rows in steps:
        opt.step([rows])
    for rows in steps[:2]:
        first.step([rows])
    rest = cls([resumed])
    rest.load_state_dict(first.state_dict())
    for rows in steps[2:]:
        rest.step([rows])
    assert uninterrupted.tobytes() == resumed.tobytes()
    assert rest._plan.tensor_steps == [4]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fs.SGD([np.ones((4, 2))]).step([fs.Rows([4], np.ones((1, 2)))]), ValueError,
         r"SGD\.step: grads\[0\] must have indices from 0 to 3; got 4"),
        (lambda: fs.SGD([np.ones((4, 2))]).step([fs.Rows([-1], np.ones((1, 2)))]), ValueError, "from 0 to 3; got -1"),
        (lambda: fs.SGD([np.ones((4, 2))]).step([fs.Rows([1], np.ones((1, 3)))]), ValueError,
         r"must be float64 with 1 rows of shape \(2,\); got float64 with 1 rows of shape \(3,\)"),
        (lambda: fs.SGD([np.ones((4, 2))]).step([fs.Rows([1], np.ones((1, 2), np.float32))]), ValueError,
         "got float32"),
        (lambda: fs.SGD([np.ones((4, 2), order="F")]).step([fs.Rows([1], np.ones((1, 2)))]), ValueError, "in C order"),
        (lambda: fs.SGD([np.ones((4, 2))], momentum=0.5).step([fs.Rows([1], np.ones((1, 2)))]), ValueError,
         r"must be dense if the optimizer has momentum=0\.5; got Rows or a sparse tensor"),
        (lambda: fs.SGD([np.ones((4, 2))], ema_decay=0.5).step([fs.Rows([1], np.ones((1, 2)))]), ValueError,
         "must be dense if the optimizer has ema_decay;"),
        (lambda: fs.Adam([np.ones((4, 2))]).step([fs.Rows([1], np.ones((1, 2)))]), ValueError,
         r"Adam\.step: grads\[0\] must be dense unless the optimizer is SGD, Adagrad, RowwiseAdagrad or SparseAdam;"),
        (lambda: fs.Rows([0.5], np.ones((1, 2))), TypeError, r"indices must be .* integers with one axis; got float64"),
        (lambda: fs.Rows([1, 2], np.ones((1, 2))), ValueError,
         r"values must be an array of 2 rows, .* got shape \(1, 2\)"),
    ],
)  # fmt: skip
def test_rows_are_refused_if_wrong_or_if_the_optimizer_cannot_use_rows(make: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_step_with_a_wrong_gradient_is_refused_and_changes_nothing(rng: np.random.Generator) -> None:
    """The wrong gradient is an array of a wrong length, rows with a wrong index, or rows in the parameter's memory."""
    table, w = np.ones((4, 2)), np.ones(3)
    opt = fs.Adagrad([table, w])
    shared = fs.Rows([0, 1], table[2:])
    for grads in (
        [fs.Rows([1], np.ones((1, 2))), np.ones(4)],
        [fs.Rows([1], np.ones((1, 2))), fs.Rows([3], np.ones(1))],
    ):
        with pytest.raises(ValueError, match=r"grads\[1\]"):
            opt.step(grads)
    assert (table == 1).all() and (w == 1).all() and opt.steps == 0
    with pytest.raises(ValueError, match="memory"):
        opt.step([shared, None])
    assert (table == 1).all()


CASES = [(c.__name__, o) for c in CLASSES for o in ({}, {"maximize": True})] + [("Adagrad", {"lr_decay": 0.1})]


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")  # warnings of torch's own Adagrad
@pytest.mark.parametrize("coalesced", [False, True])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_100_steps_of_an_embedding_agree_with_torch(name: str, options: Any, coalesced: bool, torch: Any) -> None:
    """Parameters and states are compared with those of torch's optimizer after 100 steps with sparse gradients."""
    torch.manual_seed(0)
    mine, other = (torch.nn.Embedding(50, 6, sparse=True) for _ in range(2))
    other.load_state_dict(mine.state_dict())
    head = [torch.nn.Parameter(torch.ones(6)) for _ in range(2)]
    params = [[m.weight, *([h] if name != "SparseAdam" else [])] for m, h in zip((mine, other), head, strict=True)]
    opts = [cls(p, lr=0.01, **options) for cls, p in zip((ours(name), theirs(name)), params, strict=True)]
    sign = -1.0 if options.get("maximize") else 1.0  # with maximize, the optimizer maximises the negated loss
    for _ in range(100):
        batch = torch.randint(0, 50, (20,))
        for model, h, opt in zip((mine, other), head, opts, strict=True):
            opt.zero_grad()
            (sign * (model(batch) @ h - 1) ** 2).mean().backward()
            if coalesced:
                model.weight.grad = model.weight.grad.coalesce()
            opt.step()
    for p, q in zip(*params, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)
    for entry, want in zip(opts[0].state.values(), opts[1].state.values(), strict=True):
        assert list(entry) == list(want)
        for key, value in want.items():
            torch.testing.assert_close(torch.as_tensor(entry[key]), torch.as_tensor(value), check_dtype=False)


@pytest.mark.torch
def test_optimizers_of_fusedstep_torch_clip_skip_or_refuse_sparse_gradients(torch: Any) -> None:
    """SGD clips a sparse gradient by its norm, and skips a step whose gradient contains nan.

    Adam refuses sparse gradients, and so do optimizers with momentum, weight decay or averages of the parameters.
    """
    table = torch.nn.Parameter(torch.ones(5, 2))
    index, values = torch.tensor([[1, 1, 3]]), torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
    table.grad = torch.sparse_coo_tensor(index, values, (5, 2), check_invariants=True)
    opt = ours("SGD")([table], lr=1.0, clip_norm=1.0, skip_nonfinite=True)
    opt.step()
    assert opt.grad_norm == pytest.approx(5.0) and table.grad.is_sparse
    torch.testing.assert_close(table[1].detach(), torch.tensor([1 - 0.6, 1 - 0.8]))
    table.grad._values().fill_(torch.nan)
    before = table.detach().clone()
    opt.step()
    assert opt.skipped and torch.equal(table.detach(), before)
    for name, options, message in (
        ("SGD", {"momentum": 0.5}, "must be dense if the optimizer has momentum=0.5"),
        ("Adagrad", {"weight_decay": 0.1}, "must be dense if the optimizer has weight_decay=0.1"),
        ("SGD", {"ema_decay": 0.5}, "must be dense if the optimizer has ema_decay;"),
        ("Adam", {}, "must be dense"),
    ):
        with pytest.raises(RuntimeError, match=message):
            ours(name)([table], **options).step()
    assert torch.equal(table.detach(), before)


@pytest.mark.torch
def test_step_post_hook_runs_after_the_update_of_sparse_rows(torch: Any) -> None:
    """When the hook runs, row 1 of the parameter has changed. Rows 2 to 4, without a gradient, have not."""
    model = torch.nn.Embedding(5, 2, sparse=True)
    opt, seen = ours("SparseAdam")(model.parameters()), []
    opt.register_step_post_hook(lambda *_: seen.append(model.weight.detach().clone()))
    before = model.weight.detach().clone()
    model(torch.tensor([1])).sum().backward()
    opt.step()
    assert (seen[0][1] != before[1]).all() and torch.equal(seen[0][2:], before[2:])


def test_steps_update_all_of_one_parameter_and_one_row_of_another() -> None:
    """In each of three steps, `d` has a dense gradient, and `e` has a gradient of row 1 only."""
    d, e = np.ones(5, np.float32), np.ones((4, 3), np.float32)
    opt = fs.SGD([d, e], lr=0.125)
    g = np.ones(5, np.float32)
    for _ in range(3):
        opt.step([g, fs.Rows([1], np.ones((1, 3), np.float32))])
    np.testing.assert_array_equal(d, 1 - 3 * 0.125)
    np.testing.assert_array_equal(e[:, 0], [1, 1 - 3 * 0.125, 1, 1])


def bits(*arrays: Any) -> list[bytes]:
    return [np.asarray(a).tobytes() for a in arrays]


@every_class
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda p: fs.Rows([4], np.ones((1, 2))), "must have indices from 0 to 3; got 4"),
        (lambda p: fs.Rows([0, -1], np.ones((2, 2))), "must have indices from 0 to 3; got -1"),
        (lambda p: fs.Rows([0], np.ones((1, 2), np.float32)), "must be float64"),
        (lambda p: fs.Rows([0, 1], p[2:]), "must be in memory of its own"),
    ],
)
def test_step_with_refused_rows_changes_no_parameter_and_no_state(cls: Any, rows: Any, message: str) -> None:
    """The numbers of steps of the optimizer and of each parameter also do not change."""
    w, table, state = np.ones(3), np.ones((4, 2)), []
    opt = cls([w, table])
    opt.step([np.ones(3), fs.Rows([1], np.ones((1, 2)))])
    state = [a for entry in opt.state.values() for a in entry.values()]
    before = bits(w, table, *state)
    with pytest.raises(ValueError, match=rf"^{cls.__name__}\.step: grads\[1\] {message}"):
        opt.step([np.ones(3), rows(table)], zero_grads=True)
    assert bits(w, table, *state) == before
    assert opt.steps == 1
    assert opt._plan.tensor_steps == [1, 1]


class Resizing:
    """A gradient that resizes the array `other` when a step reads the gradient for the second time.

    `other` contains the values of another gradient, which the step has already checked. Resizing frees their memory.
    """

    def __init__(self, gradient: Array, other: Array) -> None:
        self.gradient, self.other, self.asked = gradient, other, 0

    def __dlpack_device__(self) -> Any:
        return self.gradient.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        self.asked += 1
        if self.asked == 2:
            self.other.resize((100_000, 2), refcheck=False)
        return self.gradient.__dlpack__(**options)


def test_step_refuses_rows_whose_values_are_freed_during_the_step() -> None:
    values, w = np.ones((1, 2)), np.ones(3)
    opt = fs.SGD([w, np.ones((4, 2))])
    need = r"grads\[1\] must be rows whose array of values stays at the same place in memory during the step"
    with pytest.raises(ValueError, match=f"{need}; got rows whose array of values has moved in memory"):
        opt.step([Resizing(np.ones(3), values), fs.Rows([1], values)])
    assert (w == 1).all()


def test_step_with_rows_calls_the_schedule_once() -> None:
    asked: list[int] = []
    opt = fs.SGD([np.ones((4, 2))], lr=lambda t: asked.append(t) or 0.1)
    opt.step([fs.Rows([1], np.ones((1, 2)))])
    assert asked == [1]


def test_zero_grads_refuses_read_only_and_strided_rows_before_the_step() -> None:
    table, read_only = np.ones((4, 2)), np.ones((1, 2))
    read_only.flags.writeable = False
    for values in (read_only, np.ones((1, 4))[:, ::2]):
        with pytest.raises(ValueError, match=r"grads\[0\]\.values must be writeable and in C order if zero_grads"):
            fs.SGD([table]).step([fs.Rows([1], values)], zero_grads=True)
    assert (table == 1).all()


def coo(torch: Any, index: list[int], values: Any, rows: int = 4) -> Any:
    """Return a sparse tensor of shape (rows, 2). `values` are its rows with the indices `index`."""
    return torch.sparse_coo_tensor(torch.tensor([index]), values, (rows, 2), check_invariants=False)


def out_of_bounds(torch: Any) -> Any:
    return coo(torch, [0, 4], torch.ones(2, 2))


def out_of_bounds_coalesced(torch: Any) -> Any:
    gradient = coo(torch, [0, 3], torch.ones(2, 2)).coalesce()
    gradient._indices()[0, 1] = -5
    return gradient


def freed(torch: Any) -> Any:
    gradient = coo(torch, [0, 3], torch.ones(2, 2))
    gradient._values().untyped_storage().resize_(0)
    return gradient


def freed_indices(torch: Any) -> Any:
    gradient = coo(torch, [0, 3], torch.ones(2, 2))
    gradient._indices().untyped_storage().resize_(0)
    return gradient


@pytest.mark.torch
@pytest.mark.parametrize("zero_grads", [False, True])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (out_of_bounds, "must have indices from 0 to 3; got 4"),
        (out_of_bounds_coalesced, "must have indices from 0 to 3; got -5"),
        (freed, "must have all of its values in memory"),
        (freed_indices, "must have all of its indices in memory"),
    ],
)
@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_refused_sparse_gradients_leave_all_tensors_unchanged(
    name: str, make: Any, message: str, zero_grads: bool, torch: Any
) -> None:
    """Parameters, gradients and states do not change. A later step with a valid sparse gradient works."""
    w, table = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(4, 2))
    opt = ours(name)([w, table], lr=0.1, zero_grads=zero_grads)
    for _ in range(2):  # in the second turn, the optimizer has states
        w.grad, table.grad = torch.ones(3), make(torch)
        before = bits(*(t.detach() for t in (w, table)))
        states = [{n: torch.as_tensor(v).clone() for n, v in entry.items()} for entry in opt.state.values()]
        with pytest.raises((RuntimeError, ValueError), match=rf"^{name}\.step: grads\[1\] {message}"):
            opt.step()
        assert bits(*(t.detach() for t in (w, table))) == before
        assert (w.grad == 1).all()
        assert table.grad.is_sparse
        for entry, want in zip(opt.state.values(), states, strict=True):
            assert all(torch.equal(torch.as_tensor(entry[n]), v) for n, v in want.items())
        table.grad = coo(torch, [1], torch.ones(1, 2))
        opt.step()
    assert (w.detach() < 1).all() and (table.detach()[1] < 1).all()
    assert (table.detach()[2:] == 1).all()


@pytest.mark.torch
def test_step_with_a_valid_sparse_and_a_refused_dense_gradient_changes_no_parameter(torch: Any) -> None:
    """The dense gradient is refused, because its memory was freed before the step.

    The states do not change either. A later step with a valid dense gradient works.
    """
    w, table = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(4, 2))
    opt = ours("Adagrad")([table, w], lr=0.1)
    table.grad, w.grad = coo(torch, [1], torch.ones(1, 2)), torch.ones(3)
    w.grad.untyped_storage().resize_(0)
    with pytest.raises((RuntimeError, ValueError), match=r"grads\[1\]"):
        opt.step()
    assert (table == 1).all() and (w == 1).all()
    assert all(not e["sum"].any() for e in opt.state.values() if e)
    w.grad = torch.ones(3)
    opt.step()
    assert [float(e["step"]) for e in opt.state.values()] == [1, 1]


@pytest.mark.torch
def test_sparse_values_with_the_negative_bit_of_torch_are_read_as_negated(torch: Any) -> None:
    """If the negative bit of a tensor is set, the tensor's numbers are the numbers in its memory times -1."""
    table = torch.nn.Parameter(torch.zeros(4, 2))
    table.grad = coo(torch, [1, 3], torch._neg_view(torch.ones(2, 2)))
    ours("SGD")([table], lr=1.0).step()
    assert table.detach()[:, 0].tolist() == [0, 1, 0, 1]


@pytest.mark.torch
def test_zero_grads_zeroes_sparse_and_dense_torch_gradients(torch: Any) -> None:
    model = torch.nn.Embedding(5, 2, sparse=True)
    w = torch.nn.Parameter(torch.ones(2))
    opt = ours("SGD")([model.weight, w], lr=0.1, zero_grads=True)
    (model(torch.tensor([1, 2])) * w).sum().backward()
    gradient = model.weight.grad
    opt.step()
    assert model.weight.grad is gradient
    assert not gradient.to_dense().any()
    assert not w.grad.any()
