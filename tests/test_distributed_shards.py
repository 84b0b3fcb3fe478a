"""Parameters that are DTensors, and common decisions of their ranks.

The functions of tests/support/shards.py assert in each process. `World.run` raises if one of them fails.
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
def test_shards_step_as_the_whole_parameter_bit_for_bit(shards: Any, rule: str) -> None:
    world_of(2).run(shards.steps_as_whole, rule)


@pytest.mark.parametrize(
    ("dtype", "width"),
    [
        ("bfloat16", "kept"),
        ("float16", "kept"),
        ("bfloat16", "kept, random"),
        ("float32", "8 bits"),
        ("bfloat16", "kept, 8 bits"),
        ("bfloat16", "random"),
    ],
)
def test_shards_in_narrow_widths_step_as_the_whole_parameter_bit_for_bit(shards: Any, dtype: str, width: str) -> None:
    world_of(2).run(shards.widths_as_whole, dtype, width)


def test_parts_that_begin_inside_a_block_use_different_random_bits(shards: Any) -> None:
    world_of(2).run(shards.random_bits_of_parts)


def test_8_bit_states_of_parts_that_begin_inside_a_block_are_refused(shards: Any) -> None:
    world_of(2).run(shards.cut_blocks)


def test_states_of_shards_load_into_a_whole_parameter(shards: Any) -> None:
    world_of(2).run(shards.states_of_the_whole)


def test_states_are_dtensors_as_those_of_torch(shards: Any) -> None:
    world_of(2).run(shards.states_as_torchs)


def test_step_refuses_partial_gradients_and_other_placements_by_name(shards: Any) -> None:
    world_of(2).run(shards.refusals)


@pytest.mark.parametrize(
    ("dtype", "factor"), [("float32", 1.0), ("float64", 1.0), ("float64", 1e200), ("float64", 1e-200)]
)
def test_norms_of_shards_are_the_unsharded_norm_with_equal_bits(shards: Any, dtype: str, factor: float) -> None:
    first, second = world_of(2).run(shards.norms, dtype, factor)
    assert first == second


def test_norms_on_a_mesh_of_two_axes_count_each_part_once(shards: Any) -> None:
    found = world_of(4).run(shards.on_a_grid)
    assert all(norm == found[0] for norm in found)


@pytest.mark.parametrize("how", ["gradient", "option", "state", "rate"])
def test_an_error_on_one_rank_is_raised_on_all_and_nothing_is_written(shards: Any, how: str) -> None:
    first, second = world_of(2).run(shards.one_rank_is_wrong, how)
    assert first.startswith("RuntimeError: AdamW.step: no rank has stepped, because there was an error on rank 1: ")
    assert second in first


def test_an_inf_that_the_scaler_found_on_one_rank_skips_the_step_on_all_ranks(shards: Any) -> None:
    world_of(2).run(shards.found_inf)


def test_norm_over_a_process_group_adds_up_parts_and_refuses_copies(shards: Any) -> None:
    first, second = world_of(2).run(shards.groups_by_hand)
    assert first == second


@pytest.mark.parametrize("rule", ["LAMB", "LARS", "Muon", "Adafactor", "RowwiseAdagrad"])
def test_rules_with_norms_of_whole_tensors_refuse_parts_of_them(shards: Any, rule: str) -> None:
    world_of(2).run(shards.rules_of_whole_tensors, rule)


@pytest.mark.parametrize("rule", ["Muon", "Adafactor", "RowwiseAdagrad"])
def test_directions_are_clipped_and_skipped_by_the_norm_of_all_ranks(shards: Any, rule: str) -> None:
    first, second = world_of(2).run(shards.norms_before_directions, rule)
    assert str(first) == str(second)


@pytest.mark.parametrize("how", ["gradient", "state"])
@pytest.mark.parametrize("rule", ["Muon", "Adafactor"])
def test_an_error_before_directions_on_one_rank_is_raised_on_all(shards: Any, rule: str, how: str) -> None:
    first, second = world_of(2).run(shards.one_rank_has_no_direction, rule, how)
    assert first.startswith(f"RuntimeError: {rule}.step: no rank has stepped, because there was an error on rank 1: ")
    assert second in first
