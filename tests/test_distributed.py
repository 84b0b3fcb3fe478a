"""Training on two ranks of torch.distributed agrees with training in one process, or raises an error.

The tests cover every pair of a wrapper and a feature in tests/support/matrix.py, each with three optimizers. A wrapper
is, for example, DistributedDataParallel. A feature is, for example, the option `clip_norm`. The parameter `rule` of a
test is the name of an optimizer.
"""

from __future__ import annotations

import re
import runpy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import matrix
from support.worlds import world_of

pytestmark = [pytest.mark.usefixtures("torch"), pytest.mark.thread_unsafe]


@cache
def alone(rule: str, feature: str) -> matrix.Result:
    """Return the result of the training in one process. It is computed once for each optimizer and feature."""
    return matrix.train(0, 1, "", rule, feature)


def largest_difference(a: list[Any], b: list[Any]) -> float:
    return max(float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("rule", matrix.RULES)
@pytest.mark.parametrize("feature", matrix.FEATURES)
@pytest.mark.parametrize("wrapper", matrix.WRAPPERS)
def test_two_ranks_train_like_one_process_or_raise_an_error(wrapper: str, feature: str, rule: str) -> None:
    """Pairs of a wrapper and a feature that must be refused are in `matrix.REFUSED`."""
    if (wrapper, feature) in matrix.REFUSED:
        world_of(2).run(refused, wrapper, rule, feature)
        return
    assert_equal_to_one_process(world_of(2).run(matrix.train, wrapper, rule, feature), rule, feature)


@pytest.mark.nightly
@pytest.mark.parametrize("rule", matrix.RULES)
@pytest.mark.parametrize("feature", ["plain", "clip_norm", "ema_decay", "zero_grads", "skip_nonfinite"])
@pytest.mark.parametrize(("wrapper", "ranks"), [("FSDP1, flat", 2), ("FSDP2 on a grid", 4)])
def test_training_with_rarer_wrappers_agrees_with_one_process(
    wrapper: str, ranks: int, feature: str, rule: str
) -> None:
    """The wrapper "FSDP1, flat" is FSDP1 with `use_orig_params=False`. The mesh of "FSDP2 on a grid" has two axes."""
    assert_equal_to_one_process(world_of(ranks).run(matrix.train, wrapper, rule, feature), rule, feature)


def assert_equal_to_one_process(results: list[matrix.Result], rule: str, feature: str) -> None:
    """Assert that all ranks have equal bits, and that their results agree with the training in one process."""
    first, one = results[0], alone(rule, feature)
    for other in results[1:]:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(first.values, other.values, strict=True))
        assert all(a.tobytes() == b.tobytes() for a, b in zip(first.averages, other.averages, strict=True))
        assert (first.norms, first.skipped) == (other.norms, other.skipped)
    assert first.skipped == one.skipped
    assert sum(one.skipped) == matrix.FEATURES[feature].poisoned
    assert largest_difference(first.values, one.values) < 1e-6
    if one.averages:
        assert largest_difference(first.averages, one.averages) < 1e-6
    losses = [sum(of_ranks) / len(results) for of_ranks in zip(*(result.losses for result in results), strict=True)]
    assert losses == pytest.approx(one.losses, rel=1e-6)
    if matrix.FEATURES[feature].options.get("clip_norm"):
        assert first.norms == pytest.approx(one.norms, rel=1e-6)


@pytest.mark.parametrize("rule", matrix.RULES)
@pytest.mark.parametrize("wrapper", ["FSDP1", "FSDP2", "ZeRO"])
def test_a_bad_gradient_on_one_rank_is_an_error_on_all(wrapper: str, rule: str) -> None:
    """Rank 1 has the bad gradient. The error on rank 0 contains the text of the error on rank 1."""
    first, second = world_of(2).run(matrix.fail_together, wrapper, rule)
    assert re.search(r"step: grads\[\d\] must be", second) and second in first
    assert "no rank has stepped, because there was an error on rank 1" in first


def refused(rank: int, size: int, wrapper: str, rule: str, feature: str) -> None:
    with pytest.raises((TypeError, ValueError), match=r"FSDP1|ZeroRedundancyOptimizer"):
        matrix.build(wrapper, rule, matrix.FEATURES[feature])


def test_table_in_docs_distributed_md_shows_the_tested_wrappers_and_features() -> None:
    path = Path(__file__).parents[1] / "docs" / "make_distributed.py"
    make = runpy.run_path(str(path))
    page = make["PAGE"].read_text("utf-8")
    assert make["written"](page) == page, "run python docs/make_distributed.py"
