"""Optimizers update parameters that are DTensors. All ranks make the same decisions, for example to skip a step.

The assertions are in tests/support/shards.py, whose functions run in each process. If an assertion fails in any
process, `World.run` raises an error. A shard is the part of a DTensor on one rank. A block is 256 consecutive elements
of the whole tensor, which share a scale if states have 8 bits.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from support.worlds import world_of

pytestmark = pytest.mark.thread_unsafe


@pytest.fixture(scope="module")
def shards(torch: ModuleType) -> Any:
    from support import shards

    return shards


@pytest.mark.parametrize("rule", ["SGD", "AdamW", "Lion"])
def test_sharded_and_whole_parameters_have_the_same_bits_after_three_steps(shards: Any, rule: str) -> None:
    world_of(2).run(shards.steps_as_whole, rule)


@pytest.mark.parametrize(
    ("dtype", "width"),
    [
        ("bfloat16", "master weights"),
        ("float16", "master weights"),
        ("bfloat16", "master weights, bfloat16 states"),
        ("float32", "8-bit states"),
        ("bfloat16", "master weights, 8-bit states"),
        ("bfloat16", "stochastic rounding"),
    ],
)
def test_sharded_and_whole_parameters_have_the_same_bits_in_narrow_formats(shards: Any, dtype: str, width: str) -> None:
    world_of(2).run(shards.widths_as_whole, dtype, width)


def test_two_shards_use_different_random_bits_if_one_begins_inside_a_block(shards: Any) -> None:
    """The random bits are those of stochastic rounding. A block is 256 consecutive elements of the whole tensor."""
    world_of(2).run(shards.random_bits_of_parts)


def test_8_bit_states_are_refused_if_a_shard_begins_inside_a_block(shards: Any) -> None:
    """A block is 256 consecutive elements of the whole tensor. The 8-bit states of a block share a scale."""
    world_of(2).run(shards.cut_blocks)


def test_states_of_a_sharded_model_load_into_the_optimizer_of_a_whole_model(shards: Any) -> None:
    world_of(2).run(shards.states_of_the_whole)


def test_states_are_dtensors_where_torchs_states_are_dtensors(shards: Any) -> None:
    """The shapes and dtypes of the states are also those of torch.optim.AdamW."""
    world_of(2).run(shards.states_as_torchs)


def test_errors_for_wrong_placements_name_the_expected_placements(shards: Any) -> None:
    """Placements say how a DTensor is divided among the ranks, or that each rank has a copy.

    A gradient or a loaded state must have the placements of its parameter. With DTensors, `process_group` must be None.
    """
    world_of(2).run(shards.refusals)


@pytest.mark.parametrize(
    ("dtype", "factor"), [("float32", 1.0), ("float64", 1.0), ("float64", 1e200), ("float64", 1e-200)]
)
def test_gradient_norm_of_shards_agrees_with_unsharded_norm_and_is_equal_on_all_ranks(
    shards: Any, dtype: str, factor: float
) -> None:
    """Gradients are multiplied by `factor`. Their squares overflow with 1e200 and underflow with 1e-200.

    If a parameter that is not sharded has different gradients on the ranks, the step is refused.
    """
    first, second = world_of(2).run(shards.norms, dtype, factor)
    assert first == second


def test_gradient_norm_on_a_mesh_with_two_axes_counts_each_shard_once(shards: Any) -> None:
    """A step with clipping also agrees with the step in one process."""
    found = world_of(4).run(shards.on_a_grid)
    assert all(norm == found[0] for norm in found)


@pytest.mark.parametrize("how", ["gradient", "option", "state", "rate"])
def test_an_error_on_one_rank_is_raised_on_all_and_nothing_changes(shards: Any, how: str) -> None:
    """`how` says what is wrong on rank 1. "rate" is the learning rate.

    The error on rank 0 must quote the error on rank 1.
    """
    first, second = world_of(2).run(shards.one_rank_is_wrong, how)
    assert first.startswith("RuntimeError: AdamW.step: no rank has stepped, because there was an error on rank 1: ")
    assert second in first


def test_an_inf_that_the_scaler_found_on_one_rank_skips_the_step_on_all_ranks(shards: Any) -> None:
    """The test sets the attribute `found_inf` of the optimizer, as torch's GradScaler does."""
    world_of(2).run(shards.found_inf)


def test_norm_over_process_group_counts_all_ranks_and_equal_gradients_are_refused(shards: Any) -> None:
    """If all ranks have the same gradients, a step without the argument `grad_norm` is refused.

    Without this refusal, the norm would count each gradient several times.
    """
    first, second = world_of(2).run(shards.groups_by_hand)
    assert first == second


@pytest.mark.parametrize("rule", ["LAMB", "LARS", "Muon", "Adafactor", "RowwiseAdagrad"])
def test_optimizers_that_need_whole_tensors_refuse_shards(shards: Any, rule: str) -> None:
    """LAMB and LARS accept a DTensor if every rank has a copy of the whole tensor."""
    world_of(2).run(shards.rules_of_whole_tensors, rule)


@pytest.mark.parametrize("rule", ["Muon", "Adafactor", "RowwiseAdagrad"])
def test_muon_and_others_use_the_norm_over_all_ranks_to_clip_gradients_and_skip_steps(shards: Any, rule: str) -> None:
    """Parameters and norms agree with those of one process, which has the gradients of all ranks."""
    first, second = world_of(2).run(shards.norms_before_directions, rule)
    assert str(first) == str(second)


@pytest.mark.parametrize("how", ["gradient", "state"])
@pytest.mark.parametrize("rule", ["Muon", "Adafactor"])
def test_an_error_of_muon_or_adafactor_on_one_rank_is_raised_on_all_ranks(shards: Any, rule: str, how: str) -> None:
    """`how` says what is wrong on rank 1. The error on rank 0 must quote the error on rank 1."""
    first, second = world_of(2).run(shards.one_rank_has_no_direction, rule, how)
    assert first.startswith(f"RuntimeError: {rule}.step: no rank has stepped, because there was an error on rank 1: ")
    assert second in first
