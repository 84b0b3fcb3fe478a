"""The corpus of the fuzzer, and mutations of it: every file is read or refused, without other effects."""

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
def test_files_of_the_corpus(name: str) -> None:
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
def test_mutations(name: str) -> None:
    for data in mutations(CORPUS[name][0], 300):
        fuzz.check(name, data)


def test_checks_detect_planted_faults(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    def big(path: Path) -> None:
        np.ones(10**7)

    def beside(path: Path) -> None:
        path.with_suffix(".evil").touch()
        request.addfinalizer(path.with_suffix(".evil").unlink)

    def wrong(path: Path) -> None:
        raise KeyError

    for reader, error in ((big, AssertionError), (beside, AssertionError), (wrong, KeyError)):
        monkeypatch.setitem(fuzz.READERS, "table.csv", (reader, (ValueError,)))
        with pytest.raises(error):
            fuzz.check("table.csv", b"")


def test_names_are_no_paths_and_links_are_not_followed(tmp_path: Path) -> None:
    inner, precious = tmp_path / "inner", tmp_path / "precious"
    inner.mkdir()
    precious.write_text("mine")
    params = {name: np.ones(2) for name in ("../../precious", "/etc/passwd", "..", "a\0b", "a.b.c", "~", "%s{0}")}
    opt = fs.Adam(params, ema_decay=0.5)
    model = nn.TrainedModel(nn.Sequential(nn.Linear(1, 1)), "regression", np.zeros(1), np.ones(1))
    for name, save in (("state", opt.save), ("model", lambda path: nn.save(path, model))):
        (inner / name).symlink_to(precious)
        save(inner / name)
        assert not (inner / name).is_symlink() and precious.read_text() == "mine"
    assert sorted(os.listdir(inner)) == ["model", "state"] and sorted(os.listdir(tmp_path)) == ["inner", "precious"]
    opt.load(inner / "state")
