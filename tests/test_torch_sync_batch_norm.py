"""SyncBatchNorm on two ranks (processes) gives the same results as BatchNorm in one process with both batches.

The assertions are in tests/support/sync_batches.py, whose functions run in each process. If an assertion fails in any
process, `World.run` raises an error.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from support.worlds import world_of

pytestmark = pytest.mark.thread_unsafe
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "relu, cumulative average": {"relu": True, "momentum": None},
    "without weights": {"affine": False, "relu": True},
}


@pytest.fixture(scope="module")
def ranks(torch: ModuleType) -> Any:
    from support import sync_batches

    return sync_batches


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("shape", "first"), [("rows", 6), ("rows", 0), ("images", 7), ("signals", 5), ("images", 12)])
def test_batches_of_two_ranks_are_normalised_as_one_batch(
    ranks: Any, shape: str, first: int, options: str, with_residual: bool, dtype: str
) -> None:
    """Rank 0 has `first` of the 12 examples, and rank 1 has the others. Both get the same running statistics."""
    running = world_of(2).run(ranks.as_one_batch, shape, first, dtype, OPTIONS[options], with_residual)
    assert running[0] == running[1]


def test_convert_sync_batchnorm_keeps_relu_and_torchs_method_refuses_layers_with_relu(ranks: Any) -> None:
    """The method of fusedstep also keeps the parameters and the mode (training or evaluation).

    The method of torch converts a layer without relu.
    """
    world_of(2).run(ranks.conversions)


def test_unsuitable_inputs_are_refused_on_all_ranks(ranks: Any) -> None:
    world_of(2).run(ranks.refusals)


def test_sync_batch_norm_without_torch_distributed_gives_the_same_bits_as_batch_norm(torch: ModuleType) -> None:
    import fusedstep.torch as ft

    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    one, two = ft.BatchNorm1d(4, relu=True), ft.SyncBatchNorm(4, relu=True)
    assert torch.equal(one(x), two(x))
    assert torch.equal(one.running_var, two.running_var)
