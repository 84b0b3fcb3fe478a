"""Checkpoints of sharded parameters can be loaded on another number of ranks.

If a rank is killed during a save, the older checkpoint can still be loaded. A rank is a process of torch.distributed.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.worlds import world_of

pytestmark = pytest.mark.thread_unsafe
FIRST, MORE = 3, 3  # number of steps before the first save, and after each load


@pytest.fixture(scope="module")
def ranks(torch: ModuleType) -> Any:
    from support import checkpoints_of_ranks

    return checkpoints_of_ranks


@pytest.mark.parametrize("rule", ["AdamW"])
def test_training_resumes_on_other_numbers_of_ranks(ranks: Any, tmp_path: Path, rule: str) -> None:
    """Two ranks train and save. Then one rank loads, trains and saves. Then four ranks load and train.

    The losses agree with those of training on two ranks without a break.
    """
    folders = [str(tmp_path / name) for name in ("of_two", "of_one", "of_four")]
    unbroken = world_of(2).run(ranks.begin, rule, folders[0], FIRST, 2 * MORE)[0][FIRST:]
    one = world_of(1).run(ranks.go_on, rule, folders[0], folders[1], FIRST, MORE)[0]
    four = world_of(4).run(ranks.go_on, rule, folders[1], folders[2], FIRST + MORE, MORE)[0]
    assert [*one, *four] == pytest.approx(unbroken, rel=1e-6)


@pytest.mark.parametrize("width", ["bfloat16 states", "8-bit states"])
def test_narrow_states_have_equal_bits_if_the_number_of_ranks_changes(ranks: Any, tmp_path: Path, width: str) -> None:
    """The first step is on two ranks, the second on one, the third on four, with checkpoints in between.

    Parameters and states have the bits of three steps on two ranks.
    """
    folders = [str(tmp_path / name) for name in ("of_two", "of_one", "of_four", "unbroken")]
    unbroken = world_of(2).run(ranks.step_and_save, width, "", folders[3], [1, 2, 3])[0]
    world_of(2).run(ranks.step_and_save, width, "", folders[0], [1])
    world_of(1).run(ranks.step_and_save, width, folders[0], folders[1], [2])
    four = world_of(4).run(ranks.step_and_save, width, folders[1], folders[2], [3])[0]
    assert four.keys() == unbroken.keys()
    for name, value in unbroken.items():
        assert four[name] == value, name


def test_older_checkpoint_loads_after_a_rank_is_killed_during_a_save(ranks: Any, tmp_path: Path) -> None:
    """The interrupted save leaves files (*.distcp) in the folder. The next complete save removes these files."""
    folder = str(tmp_path / "saved")
    unbroken = world_of(2).run(ranks.begin, "Lion", folder, FIRST, MORE)[0][FIRST:]
    with pytest.raises(AssertionError, match="rank 1:\nthe process has ended"):
        world_of(2).run(ranks.save_over_and_die, "Lion", folder)
    broken_off = len(list(Path(folder).glob("*.distcp")))
    assert broken_off > 2  # two of these files belong to the older checkpoint
    losses = world_of(1).run(ranks.go_on, "Lion", folder, folder, FIRST, MORE)[0]
    assert losses == pytest.approx(unbroken, rel=1e-6)
    assert len(list(Path(folder).glob("*.distcp"))) == 1
