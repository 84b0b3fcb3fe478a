"""Arrays and numbers that are kept between the forward and the backward call of batch normalisation."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

import fusedstep as fs
from support.bits import Array, assert_close, assert_same_bits
from support.norms import Case


def test_outputs_that_overwrite_an_input_have_the_same_bits_as_outputs_in_new_arrays(rng: np.random.Generator) -> None:
    """The forward call may overwrite x or the residual. If it overwrites x, the backward call raises an error.

    The backward call may write dx into dy, and dresidual into another array.
    """
    for shape, axis in (((5, 3, 70), 1), ((50, 9), 1)):
        case = Case(rng, shape, axis, np.float32, relu=True, residual=True)
        y, _, _, dx, _, _, dresidual = case.run(case.x, None, case.dy, None)
        args = (case.gamma, case.beta)
        assert case.residual is not None
        for target in ("x", "residual"):
            x, residual, dy = case.x.copy(), case.residual.copy(), case.dy.copy()
            out = x if target == "x" else residual
            got, saved = fs.batch_norm(x, *args, relu=True, residual=residual, out=out)
            assert got is out
            assert_same_bits(got, y)
            if target == "x":
                with pytest.raises(ValueError, match="saved must be from a call that did not overwrite x"):
                    fs.batch_norm_backward(dy, saved)
            else:
                room = np.empty_like(dy)
                grads = fs.batch_norm_backward(dy, saved, out=(dy, room))
                assert grads.dx is dy and grads.dresidual is room
                assert_same_bits(grads.dx, dx)
                assert_same_bits(grads.dresidual, dresidual)


def test_dresidual_without_relu_is_dy(rng: np.random.Generator) -> None:
    """The gradient of the residual, dresidual, is the array dy itself. Therefore, dx must not be written into dy."""
    case = Case(rng, (5, 3), 1, np.float32, residual=True)
    _, saved = fs.batch_norm(case.x, residual=case.residual)
    assert fs.batch_norm_backward(case.dy, saved).dresidual is case.dy
    with pytest.raises(ValueError, match="out must be in memory of its own; got memory shared with dy"):
        fs.batch_norm_backward(case.dy, saved, out=case.dy)


def test_backward_call_uses_the_parameters_and_statistics_of_the_forward_call(rng: np.random.Generator) -> None:
    """The test changes gamma, beta and the running statistics after the forward call. The gradients must not change."""
    for training in (True, False):
        case = Case(rng, (20, 3, 4), 1, np.float64, training, relu=True)
        args = [a.copy() for a in (case.gamma, case.beta, case.mean, case.var)]
        _, saved = fs.batch_norm(case.x, *args, training, relu=True)
        want = fs.batch_norm_backward(case.dy, saved)
        for a in args:
            a[:] = 77
        for got, before in zip(fs.batch_norm_backward(case.dy, saved), want, strict=True):
            if before is not None:
                assert_same_bits(got, before)


def test_running_statistics_without_momentum_agree_with_torch(rng: np.random.Generator, torch: ModuleType) -> None:
    """With momentum=None, the running statistics are the averages of the statistics of all batches.

    num_batches is the number of these batches. Inference does not change it.
    """
    layer = torch.nn.BatchNorm1d(4, momentum=None, dtype=torch.float64)
    mean, var, count = np.zeros(4), np.ones(4), np.zeros((), np.int64)
    for n in range(1, 5):
        x = rng.normal(n, n, (10 * n, 4))
        layer(torch.from_numpy(x))
        fs.batch_norm(x, running_mean=mean, running_var=var, momentum=None, num_batches=count)
        assert count == n == int(layer.num_batches_tracked)
        assert_close(mean, layer.running_mean.numpy(), 1e-14)
        assert_close(var, layer.running_var.numpy(), 1e-14)
    fs.batch_norm(x, running_mean=mean, running_var=var, training=False, momentum=None, num_batches=count)
    assert count == 4


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_backward_call_refuses_an_x_whose_shape_or_dtype_was_changed() -> None:
    """The test changes the shape or dtype of x after the forward call. The backward call then raises an error.

    Without the error, the kernel would read and write beyond the end of the arrays. If x only becomes read-only, the
    backward call accepts it.
    """

    def reshaped(x: Array) -> None:
        x.shape = (10, 100)

    def other_dtype(x: Array) -> None:
        x.dtype = np.float32

    changes = (lambda x: x.resize((1, 1), refcheck=False), lambda x: x.resize((200, 10), refcheck=False))
    for change in (*changes, reshaped, other_dtype):
        x = np.random.default_rng(1).standard_normal((100, 10))
        _, saved = fs.batch_norm(x)
        change(x)
        dy = np.ones_like(x)
        dx = dy.copy()
        words = "must be from a forward call whose x has kept its memory address, shape and dtype since the call; got"
        with pytest.raises(ValueError, match=words):
            fs.batch_norm_backward(dy, saved, out=dx)
        assert (dx == 1).all()
    x = np.random.default_rng(1).standard_normal((100, 10))
    _, saved = fs.batch_norm(x)
    x.setflags(write=False)
    fs.batch_norm_backward(np.ones_like(x), saved)
