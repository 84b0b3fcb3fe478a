"""`step_in_backward` and `OffloadedOptimizer` refuse a wrapper, or use gradients after the wrapper has reduced them.

A wrapper, for example DistributedDataParallel (DDP), reduces gradients: it averages them over the processes (ranks).

The assertions are in tests/support/hooks_of_ranks.py, whose functions run in each process. If an assertion fails in any
process, `World.run` raises an error.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from support.worlds import world_of

pytestmark = pytest.mark.thread_unsafe
KINDS = ["step_in_backward", "OffloadedOptimizer"]
# The ways in which the tests make the wrapped model and its optimizer.
ORDERS = ["wrapper first", "optimizer first", "from the inner module", "gradients in buckets"]


@pytest.fixture(scope="module")
def ranks(torch: ModuleType) -> Any:
    from support import hooks_of_ranks

    return hooks_of_ranks


@pytest.mark.parametrize("how", ORDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_used_after_ddp_has_reduced_them(ranks: Any, kind: str, how: str) -> None:
    """The parameters agree with those of one process, and have equal bits on both ranks."""
    first, second = world_of(2).run(ranks.trained_after_the_reduction, kind, how)
    assert first == second


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_add_up_under_no_sync(ranks: Any, kind: str) -> None:
    """The first of two backward passes is under `no_sync` of DDP, and changes no parameter.

    The step uses the sum of the gradients of both passes. The parameters are equal on both ranks.
    """
    first, second = world_of(2).run(ranks.adds_up_under_no_sync, kind)
    assert first == second


def test_step_in_backward_changes_all_parameters_after_an_interrupted_pass(ranks: Any) -> None:
    """A hook raises an error during the first backward pass. The second pass is complete."""
    world_of(2).run(ranks.interrupted_pass)


def test_errors_under_fsdp1_name_the_wrapper(ranks: Any) -> None:
    """FSDP1 is FullyShardedDataParallel. It is refused by `step_in_backward` and `OffloadedOptimizer`.

    Under FSDP1, a step with `clip_norm` or `skip_nonfinite` is refused if `process_group` is not given.
    """
    world_of(2).run(ranks.refused_under_fsdp1)


def test_combinations_that_would_make_ranks_differ_are_refused(ranks: Any) -> None:
    """Example: `step_in_backward` is refused with `skip_nonfinite` if each rank has a part of the gradients."""
    world_of(2).run(ranks.refused_if_ranks_would_differ)


def test_a_rank_without_parameters_has_the_gradient_norm_of_all_ranks(ranks: Any) -> None:
    """ZeroRedundancyOptimizer assigns the only parameter to one of the two ranks."""
    first, second = world_of(2).run(ranks.zero_with_fewer_parameters_than_ranks)
    assert first == second
