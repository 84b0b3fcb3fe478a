"""Training after loading a state equals uninterrupted training bit by bit. A refused state changes nothing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from support.bits import Array, numbers
from support.oracle import every_class, every_variant, needs_safetensors


class World:
    """An optimizer with parameters of two dtypes in two groups. The gradients depend only on the number of the step."""

    def __init__(self, cls: Any, **options: Any) -> None:
        rng = np.random.default_rng(5)
        shapes = {"a.weight": (6, 5), "a": (), "empty": (0, 2), "state.x": (7,), "größe": (3, 4, 2)}
        self.params: dict[str, Array] = {
            name: np.asarray(rng.standard_normal(shape), dtype=dtype, order="F")
            for (name, shape), dtype in zip(shapes.items(), ("f4", "f8", "f4", "f4", "f8"), strict=True)
        }
        names = list(shapes)
        groups = [{"params": {n: self.params[n] for n in names[:2]}}]
        groups.append({"params": {n: self.params[n] for n in names[2:]}, "lr": 0.05, "weight_decay": 0.1})
        self.opt = cls(groups, **{"lr": 0.1, "ema_decay": 0.9, **options})

    def run(self, first: int, last: int) -> None:
        """Take the steps `first` to `last` - 1. If t % 3 == 1, the gradient of parameter "a" is None in step t."""
        for t in range(first, last):
            rng = np.random.default_rng(t)
            grads = {n: rng.standard_normal(p.shape).astype(p.dtype).reshape(p.shape) for n, p in self.params.items()}
            self.opt.step({n: None if t % 3 == 1 and n == "a" else g for n, g in grads.items()})

    def everything(self) -> tuple[list[bytes], list[int], list[Any]]:
        """Return the bytes of all arrays, all step counts, and the options of all groups."""
        state = [a for s in self.opt.state.values() for a in s.values()]
        averages = [] if self.opt.ema is None else self.opt.ema.values()
        arrays = [a.tobytes() for a in (*self.params.values(), *state, *averages)]
        options = [{k: v for k, v in g.items() if k != "params"} for g in self.opt.groups]
        return arrays, [self.opt.steps, *self.opt._plan.tensor_steps], options


def over_dict(old: World, new: World, _: Path) -> None:
    new.opt.load_state_dict(old.opt.state_dict())


def over_file(old: World, new: World, folder: Path) -> None:
    old.opt.save(folder / "state.safetensors")
    new.opt.load(folder / "state.safetensors")


@pytest.mark.parametrize("transfer", [over_dict, pytest.param(over_file, marks=needs_safetensors)])
@every_variant
def test_training_with_a_loaded_state_gives_the_same_bits_as_uninterrupted_training(
    cls: Any, options: dict[str, Any], transfer: Callable[[World, World, Path], None], tmp_path: Path
) -> None:
    """After five of nine steps, a new optimizer loads the state of the old optimizer, as a dict or from a file."""
    uninterrupted, old, new = (World(cls, **options) for _ in range(3))
    uninterrupted.run(0, 9)
    old.run(0, 5)
    for n, p in new.params.items():
        p[...] = old.params[n]
    transfer(old, new, tmp_path)
    assert new.everything() == old.everything()
    new.run(5, 9)
    assert new.everything() == uninterrupted.everything()


@needs_safetensors
@every_class
def test_save_and_load_keep_group_options_and_the_states_of_unnamed_parameters(cls: Any, tmp_path: Path) -> None:
    """One parameter is in Fortran order."""
    opt = cls([np.ones(3), np.ones((2, 2), order="F")], lr=0.1)
    opt.step([np.ones(3), np.ones((2, 2))])
    opt.groups[0]["lr"] = 0.03
    opt.groups[0]["maximize"] = True
    opt.save(tmp_path / "s")
    new = cls([np.ones(3), np.ones((2, 2), order="F")])
    new.load(str(tmp_path / "s"))
    assert dict(new.groups[0], params=0) == dict(opt.groups[0], params=0)
    for key, arrays in opt.state.items():
        for name, a in arrays.items():
            np.testing.assert_array_equal(new.state[key][name], a)


def test_arrays_in_a_state_dict_are_copies_in_c_order() -> None:
    """The next step does not change the copies."""
    world = World(fs.Adam)
    world.run(0, 2)
    saved = world.opt.state_dict()
    before = [a.tobytes() for s in saved["state"].values() for a in s.values()]
    assert all(a.flags.c_contiguous for s in saved["state"].values() for a in s.values())
    world.run(2, 3)
    assert [a.tobytes() for s in saved["state"].values() for a in s.values()] == before


@needs_safetensors
def test_equal_states_are_saved_as_equal_files(tmp_path: Path) -> None:
    """`save` leaves no other file in the folder."""
    for name in ("a", "b"):
        world = World(fs.Adam)
        world.run(0, 3)
        world.opt.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


@needs_safetensors
def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renaming, flushing and writing the new file fail in turn. `save` raises the error and removes its temporary file.

    If the folder is missing, or the path is a folder, `save` raises an error and creates no file.
    """
    import safetensors.numpy

    world, path = World(fs.Adam), tmp_path / "state"
    world.opt.save(path)
    old = path.read_bytes()
    world.run(0, 1)

    def full(*_: Any) -> None:
        raise OSError("no space left")

    for target, name in ((os, "replace"), (os, "fsync"), (safetensors.numpy, "save_file")):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
            patch.setattr(target, name, full)
            world.opt.save(path)
        assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError, match=r"no folder/state'$"):
        world.opt.save(tmp_path / "no folder" / "state")
    with pytest.raises(OSError):
        world.opt.save(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def changed(state: Any, *path: Any, to: Any = None) -> Any:
    """Return a copy of a state dict in which the entry at `path` is replaced by `to`, or removed if `to` is None."""
    if isinstance(state, list):
        return list(changed(dict(enumerate(state)), *path, to=to).values())
    copy = {k: changed(v, *path[1:], to=to) if path[1:] and k == path[0] else v for k, v in state.items()}
    if len(path) == 1:
        copy[path[0]] = to
        if to is None:
            del copy[path[0]]
    return copy


F4 = np.float32
# Each entry is (path to a value in the state dict, new value, words of the error). If the new value is None, the value
# is removed.
MISFITS: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "optimizer": (("optimizer",), "SGD", "optimizer must be 'Adam'; got 'SGD'"),
    "format": (("format",), 99, "format must be 1; got 99"),
    "no steps": (("steps",), None, "; got a dict without ['steps']"),
    "no groups": (("groups",), [], "groups must be a list of 2 groups"),
    "group that is not a dict": (("groups",), [1, 2], "groups[0] must be a dict; got 1"),
    "negative lr": (("groups", 1, "lr"), -1.0, "groups[1]['lr'] must be at least 0; got -1.0"),
    "unknown option": (("groups", 1, "momentum"), 0.5, "groups[1] must have only options of Adam; got 'momentum'"),
    "params in a group": (("groups", 1, "params"), 0.5, "groups[1] must have only options of Adam; got 'params'"),
    "amsgrad": (("groups", 1, "amsgrad"), True, "groups[1]: amsgrad must be on in both the loaded state and this"),
    "schedule": (("groups", 0, "lr_state"), {}, "groups[0] must not have lr_state"),
    "no option": (("groups", 1, "eps"), None, "groups[1] must have all options; missing eps"),
    "masked": (("state", "state.x", "exp_avg"), np.ma.zeros(7, F4), "must be an array; got MaskedArray"),
    "negative step": (("step",), -1, "step must be a whole number of at least 0; got -1"),
    "fractional steps": (("steps", "a"), 1.5, "steps['a'] must be a whole number of at least 0; got 1.5"),
    "huge steps": (("steps", "a"), 2**63, "steps['a'] must be a whole number"),
    "unknown parameter": (("state", "b"), {}, "state must have the keys"),
    "no parameter": (("state", "a"), None, "state must have the keys"),
    "no state": (("state", "a", "exp_avg"), None, "state['a'] must have the keys ['exp_avg', 'exp_avg_sq']"),
    "not a state": (("state", "a"), 3, "state['a'] must be a dict with the keys ['exp_avg', 'exp_avg_sq']; got 3"),
    "list": (("state", "a", "exp_avg"), [0.0], "state['a']['exp_avg'] must be an array; got list"),
    "shape": (("state", "state.x", "exp_avg"), np.zeros(8, F4), "must be float32 (7,); got float32 (8,)"),
    "axes": (("state", "a.weight", "exp_avg"), np.zeros((5, 6), F4), "must be float32 (6, 5); got float32 (5, 6)"),
    "dtype": (("state", "state.x", "exp_avg"), np.zeros(7), "must be float32 (7,); got float64 (7,)"),
    "other byte order": (("state", "state.x", "exp_avg"), np.zeros(7, ">f4"), "in native byte order; got >f4 (7,)"),
    "no averages": (("ema",), {}, "ema must have the keys"),
    "average": (("ema", "state.x"), np.zeros(8, F4), "ema['state.x'] must be float32 (7,); got float32 (8,)"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_state_that_does_not_fit_is_refused_and_changes_nothing(name: str) -> None:
    """`MISFITS[name]` changes one entry of a valid state dict."""
    path, to, words = MISFITS[name]
    old, new = World(fs.Adam), World(fs.Adam)
    old.run(0, 3)
    new.run(0, 2)
    before = new.everything()
    with pytest.raises((ValueError, TypeError), match=re.escape(words)) as caught:
        new.opt.load_state_dict(changed(old.opt.state_dict(), *path, to=to))
    assert str(caught.value).startswith("Adam.load_state_dict: ")
    assert new.everything() == before


@pytest.mark.parametrize("state", [None, 3, [], "state"])
def test_load_state_dict_refuses_an_object_that_is_not_a_dict(state: Any) -> None:
    with pytest.raises(TypeError, match=r"^SGD.load_state_dict: state must be a dict; got \w+$"):
        fs.SGD([np.ones(3)]).load_state_dict(state)


@every_class
def test_load_state_dict_refuses_a_state_with_missing_or_unexpected_averages(cls: Any) -> None:
    """Two optimizers refuse each other's state. Only one has `ema_decay`, so only its state has averages."""
    with_ema, without = World(cls), World(cls, ema_decay=None)
    for old, new, words in ((with_ema, without, "ema must be None"), (without, with_ema, "ema must be averages")):
        before = new.everything()
        with pytest.raises(ValueError, match=words):
            new.opt.load_state_dict(old.opt.state_dict())
        assert new.everything() == before


def foreign(path: Path, header: dict[str, str] | None = None) -> None:
    """Write a safetensors file that was not saved by an optimizer. `header` is its metadata."""
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(3)}, path, header)


BAD_FILES: dict[str, Callable[[Path], Any]] = {
    "empty": lambda p: p.write_bytes(b""),
    "random": lambda p: p.write_bytes(np.random.default_rng(1).bytes(1000)),
    "truncated": lambda p: p.write_bytes(p.read_bytes()[:-1]),
    "half": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "longer": lambda p: p.write_bytes(p.read_bytes() + b"\0"),
    "foreign": foreign,
    "no json": lambda p: foreign(p, {"fusedstep": "{no json"}),
    "no dict": lambda p: foreign(p, {"fusedstep": "[1, 2]"}),
    "incomplete header": lambda p: foreign(p, {"fusedstep": json.dumps({"steps": {"a": 1}})}),
    "text": lambda p: p.write_text("hello"),
    "folder": lambda p: (p.unlink(), p.mkdir()),
}


@needs_safetensors
@pytest.mark.parametrize("kind", BAD_FILES)
def test_load_refuses_damaged_and_foreign_files_and_changes_nothing(kind: str, tmp_path: Path) -> None:
    """`BAD_FILES[kind]` damages or replaces a valid file."""
    world, path = World(fs.Adam), tmp_path / "state"
    world.run(0, 2)
    world.opt.save(path)
    world.run(2, 3)
    before = world.everything()
    BAD_FILES[kind](path)
    with pytest.raises((ValueError, OSError)) as caught:
        world.opt.load(path)
    assert type(caught.value) in (ValueError, IsADirectoryError), repr(caught.value)
    assert str(caught.value).startswith("Adam.load") or isinstance(caught.value, OSError)
    assert world.everything() == before


@needs_safetensors
def test_load_refuses_a_missing_file_and_a_file_of_another_optimizer_class(tmp_path: Path) -> None:
    world = World(fs.Adam)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        world.opt.load(tmp_path / "nowhere")
    World(fs.SGD).opt.save(tmp_path / "sgd")
    with pytest.raises(ValueError, match="optimizer must be 'Adam'; got 'SGD'"):
        world.opt.load(tmp_path / "sgd")


class Schedule:
    """A learning-rate schedule that has a state. If `fails` is True, it refuses the state {"best": 0.25}."""

    def __init__(self, fails: bool = False) -> None:
        self.best, self.fails = 0.5, fails

    def __call__(self, t: int) -> float:
        return self.best / t

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, float]) -> None:
        if self.fails and state["best"] == 0.25:
            raise ValueError('Schedule.load_state_dict: state["best"] must not be 0.25 if fails is True')
        self.best = state["best"]


@needs_safetensors
def test_save_and_load_keep_the_state_of_a_schedule(tmp_path: Path) -> None:
    old, new = World(fs.Adam, lr=Schedule()), World(fs.Adam, lr=Schedule())
    old.run(0, 3)
    old.opt.groups[0]["lr"].best = 0.25
    over_file(old, new, tmp_path)
    assert new.opt.groups[0]["lr"].best == 0.25


def test_load_state_dict_changes_nothing_if_a_schedule_refuses_its_state() -> None:
    """Of two schedules, the second refuses the state. The first schedule must get its old state back."""
    first, second = Schedule(), Schedule(fails=True)
    p = [{"params": np.ones(3), "lr": first}, {"params": np.ones(3), "lr": second}]
    opt = fs.Adam(p)
    saved = opt.state_dict()
    opt.step([np.ones(3), np.ones(3)])
    before = [a.tobytes() for s in opt.state.values() for a in s.values()]
    for group in saved["groups"]:
        group["lr_state"] = {"best": 0.25}
    with pytest.raises(ValueError, match=r'state\["best"\] must not be 0\.25'):
        opt.load_state_dict(saved)
    assert [a.tobytes() for s in opt.state.values() for a in s.values()] == before
    assert (first.best, second.best, opt.steps) == (0.5, 0.5, 1)


def test_step_counts_that_float32_cannot_represent_are_exact() -> None:
    opt = fs.Adam([p := np.ones(3)], lr=0.1)
    state = opt.state_dict()
    state["step"], state["steps"] = 2**24 + 1, {0: 2**24 + 1}
    opt.load_state_dict(state)
    assert opt.step([numbers(np.random.default_rng(1), 100, p.dtype)[:3]]).step == 2**24 + 2


def test_load_state_dict_can_exchange_the_states_of_two_parameters() -> None:
    opt = fs.Adam({"a": np.zeros(3), "b": np.zeros(3)}, ema_decay=0.9)
    opt.step({"a": np.ones(3), "b": np.full(3, 2.0)})
    before, state = opt.state_dict(), opt.state
    opt.load_state_dict({**before, "state": {"a": state["b"], "b": state["a"]}})
    for name, other in ("ab", "ba"):
        for key, array in before["state"][name].items():
            assert np.array_equal(opt.state[other][key], array)
