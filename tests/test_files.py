"""Files are written completely or not at all. The tests cover permissions, long names and paths of folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import nn
from fusedstep._base.files import replacing

pytest.importorskip("safetensors")

MODEL = nn.TrainedModel(nn.Sequential(nn.Linear(1, 1)), "regression", np.zeros(1), np.ones(1))
SAVES: dict[str, Callable[[Path], None]] = {
    "optimizer": lambda path: fs.SGD([np.ones(3)], momentum=0.9).save(path),
    "model": lambda path: nn.save(path, MODEL),
}
every_save = pytest.mark.parametrize("save", SAVES.values(), ids=list(SAVES))
needs_umask = pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@needs_umask
@every_save
@pytest.mark.thread_unsafe
def test_a_new_file_has_the_permissions_that_the_umask_allows(
    save: Callable[[Path], None], umask: int, tmp_path: Path
) -> None:
    save(tmp_path / "new")
    assert mode(tmp_path / "new") == 0o666 & ~umask


@needs_umask
@every_save
@pytest.mark.parametrize("given", [0o644, 0o600, 0o664, 0o640])
def test_a_file_that_is_replaced_keeps_its_permissions(
    save: Callable[[Path], None], given: int, tmp_path: Path
) -> None:
    path = tmp_path / "old"
    path.write_text("old")
    path.chmod(given)
    save(path)
    assert mode(path) == given and path.read_bytes() != b"old"


@every_save
@pytest.mark.parametrize(
    "name",
    ["n" * 255, "é" * 127, "n" * 241, "日" * 85],
    ids=["255 letters", "127 letters in 254 bytes", "241 letters", "85 letters in 255 bytes"],
)
def test_saved_files_can_have_names_as_long_as_the_file_system_allows(
    save: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    """The second save replaces the file. No other file is left."""
    save(tmp_path / name)
    save(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


@every_save
def test_save_refuses_a_folder_and_a_too_long_name_and_leaves_no_file(
    save: Callable[[Path], None], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="folder"):
        save(tmp_path / "folder")
    with pytest.raises(OSError, match="n" * 256):
        save(tmp_path / ("n" * 256))
    assert os.listdir(tmp_path) == ["folder"]


def test_saving_to_the_path_of_a_folder_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """Files are saved with the context manager `replacing`. The code in its `with` block writes the new file."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError), replacing(tmp_path / "folder"):
        pytest.fail("replacing must refuse the path before its `with` block runs")
