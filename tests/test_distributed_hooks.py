"""`step_in_backward` and `OffloadedOptimizer` use gradients after a wrapper has reduced them, or refuse the wrapper.

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
ORDERS = ["wrapper first", "optimizer first", "from the inner module", "gradients in buckets"]


@pytest.fixture(scope="module")
def ranks(torch: ModuleType) -> Any:
    from support import hooks_of_ranks

    return hooks_of_ranks


@pytest.mark.parametrize("how", ORDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_used_after_ddp_has_reduced_them(ranks: Any, kind: str, how: str) -> None:
    first, second = world_of(2).run(ranks.trained_after_the_reduction, kind, how)
    assert first == second


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_add_up_under_no_sync(ranks: Any, kind: str) -> None:
    first, second = world_of(2).run(ranks.adds_up_under_no_sync, kind)
    assert first == second


def test_backward_pass_after_an_interrupted_pass_steps_all_parameters(ranks: Any) -> None:
    world_of(2).run(ranks.interrupted_pass)


def test_error_names_fsdp1_if_hooks_or_a_norm_would_be_wrong(ranks: Any) -> None:
    world_of(2).run(ranks.refused_under_fsdp1)


def test_steps_that_would_make_ranks_differ_are_refused(ranks: Any) -> None:
    world_of(2).run(ranks.refused_if_ranks_would_differ)


def test_a_rank_without_parameters_has_the_norm_of_all_ranks(ranks: Any) -> None:
    first, second = world_of(2).run(ranks.zero_with_fewer_parameters_than_ranks)
    assert first == second
