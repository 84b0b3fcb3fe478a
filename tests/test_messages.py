"""Error messages for tensors without memory, wrong environment variables, and tables of pandas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep._base import threads
from support.interpreters import python
from support.refusals import assert_refused


def freed(torch: Any, *shape: int) -> Any:
    """Return a tensor whose storage is freed. FSDP frees storages in this way."""
    found = torch.ones(shape)
    found.untyped_storage().resize_(0)
    return found


def test_error_message_says_that_a_tensor_has_no_memory(torch: Any) -> None:
    """The tensor is a gradient or a parameter of a torch optimizer, or a gradient of a NumPy optimizer."""
    p = torch.ones(4, 5, requires_grad=True)
    opt = fs.torch.Adam([p])
    p.grad = freed(torch, 4, 5)
    with assert_refused(
        ValueError,
        "Adam.step: grads[0] must be torch.float32 (4, 5) with memory; got torch.float32 (4, 5) without memory",
    ):
        opt.step()
    with assert_refused(
        TypeError, "SGD: params[0] must be a dense tensor in the CPU's memory", "(4, 5) without memory"
    ):
        fs.torch.SGD([freed(torch, 4, 5).requires_grad_()])
    with assert_refused(
        TypeError, "SGD.step: grads[0] must be an array or a tensor with memory; got Tensor without memory"
    ):
        fs.SGD([np.ones((4, 5), np.float32)]).step([freed(torch, 4, 5)])


def test_error_message_says_that_a_functorch_tensor_has_no_memory_of_its_own(torch: Any) -> None:
    """`torch.func.grad` makes such tensors. A step gets one as a gradient. A new optimizer gets one as a parameter."""
    p = torch.ones(4, 5, requires_grad=True)
    opt = fs.torch.SGD([p])

    def step(x: Any) -> Any:
        p.grad = x
        opt.step()
        return x.sum()

    with assert_refused(
        ValueError,
        "SGD.step: grads[0] must be torch.float32 (4, 5) with memory of its own; got",
        "which has no memory of its own",
    ):
        torch.func.grad(step)(torch.ones(4, 5))
    with assert_refused(TypeError, "SGD: params[0] must be a dense tensor", "(4, 5), which has no memory of its own"):
        torch.func.grad(lambda x: fs.torch.SGD([x]))(torch.ones(4, 5))


@pytest.mark.parametrize("size", [0, 8, 76])
def test_layers_refuse_tensors_whose_storage_is_too_small(size: int, torch: Any) -> None:
    """The tensor is a layer's input, or the gradient of its output. Unchecked, it would be read beyond its storage."""
    for layer in (fs.torch.Dropout(0.5), fs.torch.Dropout(0.5, inplace=True), fs.torch.BatchNorm1d(5)):
        x = torch.ones(4, 5)
        x.untyped_storage().resize_(size)
        with assert_refused(
            ValueError, "must have memory for all of its elements; got torch.float32 (4, 5)", f"{size} bytes"
        ):
            layer(x)
        x, dy = torch.ones(4, 5, requires_grad=True), torch.ones(4, 5)
        y = layer(x * 1)
        dy.untyped_storage().resize_(size)
        with assert_refused(ValueError, "must have memory for all of its elements", f"{size} bytes"):
            y.backward(dy)


@pytest.mark.parametrize("wish", ["\u0663", "\uff11", "1_0", "0x2", "2.0", "\u00b2"])
def test_environment_variables_for_threads_accept_only_ascii_digits(wish: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other values of FUSEDSTEP_NUM_THREADS cause an error. Other values of OMP_NUM_THREADS are ignored."""
    done = python("import fusedstep", FUSEDSTEP_NUM_THREADS=wish)
    assert done.returncode == 1
    assert f"FUSEDSTEP_NUM_THREADS={wish!r}: must be a whole number" in done.stderr
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads.machine_limit() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", wish)
    assert threads.machine_limit() == min([threads.affinity(), *map(math.ceil, threads.quotas())])


def test_optimizer_refuses_pandas_data_frames_and_series() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0]})
    with assert_refused(TypeError, "SGD: params must be a list or a dict of arrays; got a DataFrame"):
        fs.SGD(frame)
    with assert_refused(TypeError, "SGD: params must be a list or a dict of arrays; got a Series"):
        fs.SGD(frame["a"])
    with assert_refused(TypeError, "SGD: params[0] must be a numpy.ndarray", "got DataFrame"):
        fs.SGD([frame])


def test_error_describes_a_number_that_python_does_not_print() -> None:
    """Python refuses to print integers of more than 4,300 digits."""
    with assert_refused(ValueError, "lr must be finite as a float", "a value of the type int with too many digits"):
        fs.Adam([np.ones(3)], lr=10**5000)
