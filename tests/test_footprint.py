"""``inspect.memory`` counts the real bytes of the optimizers' arrays."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fusedstep as fs

# The states of `master_weights`, which have the bits of float32 weights that 16-bit parameters lack.
KEPT = ("low", "low_sum", "master")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"master_weights": True},
        {"state_dtype": "bfloat16"},
        {"state_dtype": "uint8", "master_weights": True, "ema_decay": 0.9},
    ],
)
def test_inspect_memory_counts_the_bytes_of_states_and_averages(dtype: Any, options: dict[str, Any]) -> None:
    """All numbers are bytes per element of the parameter."""
    if dtype == np.float64:  # `state_dtype` must be None for float64 parameters
        options = {"amsgrad": True, "ema_decay": 0.5}
    opt = fs.AdamW([np.zeros(700, dtype)], **{"eps": 1e-4, **options})
    (found,) = fs.inspect.memory(opt).groups
    sizes = {name: a.nbytes / 700 for name, a in opt.state[0].items() if a.ndim}
    assert found.kept_bits == pytest.approx(sum(sizes.pop(name, 0) for name in KEPT))
    assert found.states + found.scales == pytest.approx(sum(sizes.values()))
    assert found.averages == (0 if opt.ema is None else opt.ema[0].nbytes / 700)


def test_inspect_memory_predicts_the_bytes_of_an_optimizer_with_other_settings() -> None:
    """The result for an optimizer also lists the bytes that the same optimizer would need with other settings."""
    p = np.zeros(512, ml_dtypes.bfloat16)
    before = {b.name: b.total for b in fs.inspect.memory(fs.AdamW([p])).settings}
    made = fs.AdamW([p], state_dtype="uint8", master_weights=True)
    assert before['state_dtype="uint8", master_weights=True'] == fs.inspect.memory(made).groups[0].total


def test_inspect_memory_counts_the_bytes_of_offloaded_torch_optimizers(torch: Any) -> None:
    """An `OffloadedOptimizer` keeps its states in CPU memory.

    The bytes that are counted before the first step equal the bytes of the state tensors after this step. The repr
    of the result shows the field `kept_bits`.
    """
    from fusedstep.torch import AdamW, OffloadedOptimizer

    model = torch.nn.Linear(32, 16, bias=False, dtype=torch.bfloat16)
    opt = OffloadedOptimizer(AdamW, model, state_dtype="uint8")
    found = fs.inspect.memory(opt)
    model(torch.ones(32, dtype=torch.bfloat16)).sum().backward()
    opt.step()
    held = sum(t.numel() * t.element_size() for t in opt.state[model.weight].values() if t.dim()) / 512
    assert found.groups[0].states + found.groups[0].scales + found.groups[0].kept_bits == held
    assert "kept_bits" in repr(found)


def test_inspect_memory_counts_the_copies_that_an_offloaded_optimizer_makes_of_the_parameters(torch: Any) -> None:
    """Each float32 weight (4 bytes) has a float64 copy in CPU memory (8 bytes)."""
    from fusedstep.torch import AdamW, OffloadedOptimizer

    model = torch.nn.Linear(32, 16, bias=False)
    (found,) = fs.inspect.memory(OffloadedOptimizer(AdamW, model, master_dtype=torch.float64)).groups
    assert (found.weights, found.gradients, found.states) == (4 + 8, 4, 2 * 8)


def test_inspect_memory_refuses_objects_that_are_no_optimizers() -> None:
    with pytest.raises(TypeError, match=r"memory: optimizer must be an optimizer of fusedstep .*; got int"):
        fs.inspect.memory(3)


def test_inspect_memory_counts_states_per_row_and_per_column() -> None:
    """Adafactor has one state number per row and one per column. RowwiseAdagrad has one per row.

    Each number takes 4 bytes. The results are bytes per element of the parameter.
    """
    p = np.zeros((100, 50), np.float32)
    assert fs.inspect.memory(fs.Adafactor([p])).groups[0].states == 4 * (100 + 50) / 5000
    assert fs.inspect.memory(fs.RowwiseAdagrad([p])).groups[0].states == 4 * 100 / 5000
