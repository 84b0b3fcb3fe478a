"""Each file of the fuzzer's corpus is read or refused without other effects. So are random mutations of these files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("safetensors")

import fusedstep as fs
import fuzz
from fusedstep import nn
from support.corpus import corpus

CORPUS = corpus()


@pytest.mark.parametrize("name", CORPUS)
def test_each_reader_accepts_a_valid_file_and_refuses_at_least_one_other_file(name: str) -> None:
    """In `CORPUS`, the first file of each reader is valid."""
    read = [fuzz.check(name, data) for data in CORPUS[name]]
    assert read[0] and not all(read)


def mutations(data: bytes, count: int) -> Iterator[bytes]:
    rng = np.random.default_rng(7)
    for _ in range(count):
        changed = bytearray(data)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            kind = rng.integers(4)
            if kind == 0:
                changed[at % len(changed)] ^= 1 << rng.integers(8)
            elif kind == 1:
                changed[at % len(changed)] = rng.choice(list(b'0129-.,:"[]{}eE\0\xff'))
            elif kind == 2:
                del changed[at : at + rng.integers(1, 9)]
            else:
                changed[at:at] = changed[: rng.integers(1, 9)]
            changed = changed or bytearray(b"\0")
        yield bytes(changed)


@pytest.mark.parametrize("name", CORPUS)
def test_no_mutation_of_a_file_crashes_a_reader_or_takes_much_memory(name: str) -> None:
    """`fuzz.check` catches the documented errors.

    It asserts that the reader allocates limited memory, and creates no file besides the one that it reads.
    """
    for data in mutations(CORPUS[name][0], 300):
        fuzz.check(name, data)


def test_fuzz_check_detects_faulty_readers(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """One reader uses much memory, one creates a file, and one raises an undocumented error."""

    def big(path: Path) -> None:
        np.ones(10**7)

    def beside(path: Path) -> None:
        path.with_suffix(".extra").touch()
        request.addfinalizer(path.with_suffix(".extra").unlink)

    def wrong(path: Path) -> None:
        raise KeyError

    for reader, error in ((big, AssertionError), (beside, AssertionError), (wrong, KeyError)):
        monkeypatch.setitem(fuzz.READERS, "table.csv", (reader, (ValueError,)))
        with pytest.raises(error):
            fuzz.check("table.csv", b"")


def test_saving_parameters_with_names_like_paths_writes_no_file_outside_the_folder(tmp_path: Path) -> None:
    """A saved file replaces a symbolic link of the same name. The file to which the link points does not change."""
    inner, outside = tmp_path / "inner", tmp_path / "outside"
    inner.mkdir()
    outside.write_text("unchanged")
    params = {name: np.ones(2) for name in ("../../outside", "/etc/passwd", "..", "a\0b", "a.b.c", "~", "%s{0}")}
    opt = fs.Adam(params, ema_decay=0.5)
    model = nn.TrainedModel(nn.Sequential(nn.Linear(1, 1)), "regression", np.zeros(1), np.ones(1))
    for name, save in (("state", opt.save), ("model", lambda path: nn.save(path, model))):
        (inner / name).symlink_to(outside)
        save(inner / name)
        assert not (inner / name).is_symlink() and outside.read_text() == "unchanged"
    assert sorted(os.listdir(inner)) == ["model", "state"]
    assert sorted(os.listdir(tmp_path)) == ["inner", "outside"]
    opt.load(inner / "state")
