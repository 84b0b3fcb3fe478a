"""Parameters that are DTensors, and decisions that must be equal on all ranks.

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
def test_steps_of_shards_have_the_bits_of_steps_of_the_whole_parameter(shards: Any, rule: str) -> None:
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
def test_steps_of_shards_in_narrow_formats_have_the_bits_of_the_whole_parameter(
    shards: Any, dtype: str, width: str
) -> None:
    world_of(2).run(shards.widths_as_whole, dtype, width)


def test_parts_that_begin_inside_a_block_use_different_random_bits(shards: Any) -> None:
    world_of(2).run(shards.random_bits_of_parts)


def test_8_bit_states_of_parts_that_begin_inside_a_block_are_refused(shards: Any) -> None:
    world_of(2).run(shards.cut_blocks)


def test_states_of_shards_load_into_a_whole_parameter(shards: Any) -> None:
    world_of(2).run(shards.states_of_the_whole)


def test_states_are_dtensors_where_torchs_states_are_dtensors(shards: Any) -> None:
    world_of(2).run(shards.states_as_torchs)


def test_errors_for_partial_gradients_and_other_placements_name_the_placement(shards: Any) -> None:
    world_of(2).run(shards.refusals)


@pytest.mark.parametrize(
    ("dtype", "factor"), [("float32", 1.0), ("float64", 1.0), ("float64", 1e200), ("float64", 1e-200)]
)
def test_norms_of_shards_agree_with_the_unsharded_norm_and_have_equal_bits(
    shards: Any, dtype: str, factor: float
) -> None:
    first, second = world_of(2).run(shards.norms, dtype, factor)
    assert first == second


def test_norms_on_a_mesh_with_two_axes_contain_each_part_once(shards: Any) -> None:
    found = world_of(4).run(shards.on_a_grid)
    assert all(norm == found[0] for norm in found)


@pytest.mark.parametrize("how", ["gradient", "option", "state", "rate"])
def test_an_error_on_one_rank_is_raised_on_all_and_nothing_is_written(shards: Any, how: str) -> None:
    first, second = world_of(2).run(shards.one_rank_is_wrong, how)
    assert first.startswith("RuntimeError: AdamW.step: no rank has stepped, because there was an error on rank 1: ")
    assert second in first


def test_an_inf_that_the_scaler_found_on_one_rank_skips_the_step_on_all_ranks(shards: Any) -> None:
    world_of(2).run(shards.found_inf)


def test_norm_over_process_group_is_that_of_all_parts_and_copies_are_refused(shards: Any) -> None:
    first, second = world_of(2).run(shards.groups_by_hand)
    assert first == second


@pytest.mark.parametrize("rule", ["LAMB", "LARS", "Muon", "Adafactor", "RowwiseAdagrad"])
def test_optimizers_that_need_whole_tensors_refuse_parts(shards: Any, rule: str) -> None:
    world_of(2).run(shards.rules_of_whole_tensors, rule)


@pytest.mark.parametrize("rule", ["Muon", "Adafactor", "RowwiseAdagrad"])
def test_optimizers_with_directions_clip_and_skip_by_the_norm_of_all_ranks(shards: Any, rule: str) -> None:
    """A direction is what these optimizers compute from a gradient before the kernel's step."""
    first, second = world_of(2).run(shards.norms_before_directions, rule)
    assert str(first) == str(second)


@pytest.mark.parametrize("how", ["gradient", "state"])
@pytest.mark.parametrize("rule", ["Muon", "Adafactor"])
def test_an_error_of_an_optimizer_with_directions_is_raised_on_all_ranks(shards: Any, rule: str, how: str) -> None:
    first, second = world_of(2).run(shards.one_rank_has_no_direction, rule, how)
    assert first.startswith(f"RuntimeError: {rule}.step: no rank has stepped, because there was an error on rank 1: ")
    assert second in first
