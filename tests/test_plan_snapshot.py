"""Steps whose gradients change arrays or groups while they are read, and steps whose gradients are wrong.

Such a step is correct, or it is refused. Most cases run in their own process, because a fault could crash the process.
"""

from __future__ import annotations

import ctypes
import gc
from collections import OrderedDict, UserDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from stress_snapshot import arrays, stress
from support.snapshots import REFUSALS, survives


class World:
    """Three parameters, their gradients, and their optimizer."""

    def __init__(self, **options: Any) -> None:
        rng = np.random.default_rng(0)
        self.params = [rng.standard_normal(s).astype(np.float32) for s in ((4, 3), (5,), ())]
        self.grads: list[Any] = [np.asarray(rng.standard_normal(p.shape), np.float32) for p in self.params]
        self.opt = fs.Adam(self.params, lr=0.1, ema_decay=0.9, **options)
        self.start = [p.copy() for p in self.params]

    def goes_on(self) -> None:
        """Assert that later steps equal the steps of a second optimizer with the same state."""
        twins = [p.copy() for p in self.params]
        twin = fs.Adam(twins, lr=0.1, ema_decay=0.9)
        twin.load_state_dict(self.opt.state_dict())
        grads = [np.full_like(p, 0.5) for p in self.params]
        for _ in range(2):
            self.opt.step(grads)
            twin.step([g.copy() for g in grads])
        for p, q in zip(self.params, twins, strict=True):
            assert np.array_equal(p, q)


class Offer:
    """A gradient that calls `act` when a step reads its memory through DLPack."""

    def __init__(self, array: Any, act: Callable[[], object] = lambda: None) -> None:
        self.array, self.act = array, act

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def __dlpack__(self, **options: Any) -> Any:
        self.act()
        return self.array.__dlpack__(**options)


def raises(w: World) -> None:
    raise KeyError("of the user")


# A step reads a gradient, and the gradient calls one of these actions. Some actions change the first gradient, so
# another gradient calls them.
ACTS: dict[str, Callable[[World], object]] = {
    "takes a step": lambda w: w.opt.step(w.grads),
    "saves the state": lambda w: w.opt.state_dict(),
    "loads a state": lambda w: w.opt.load_state_dict(fs.Adam([p.copy() for p in w.params], ema_decay=0.9).state_dict()),
    "enters averaged()": lambda w: w.opt.averaged().__enter__(),
    "changes a group": lambda w: w.opt.groups[0].__setitem__("betas", (0.5, 0.5)),
    "collects garbage": lambda w: gc.collect(),
    "raises KeyError": raises,
    "raises KeyboardInterrupt": lambda w: (_ for _ in ()).throw(KeyboardInterrupt()),
    "changes another gradient's shape": lambda w: setattr(w.grads[0], "shape", (3, 4)),
    "changes another gradient's dtype": lambda w: setattr(w.grads[0], "dtype", np.int32),
    "changes another gradient's flags": lambda w: w.grads[0].setflags(write=False),
    "changes another gradient's size": lambda w: w.grads[0].resize((1,), refcheck=False),
    "changes another gradient's size and address": lambda w: w.grads[0].resize((1 << 18,), refcheck=False),
    "clears the list of gradients": lambda w: w.grads.clear(),
    "changes a parameter's shape": lambda w: setattr(w.params[0], "shape", (3, 4)),
    "changes a parameter's dtype": lambda w: setattr(w.params[0], "dtype", np.int32),
    "changes a parameter's flags": lambda w: w.params[0].setflags(write=False),
    "changes a parameter's size": lambda w: w.params[0].resize((1 << 18,), refcheck=False),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ACTS)
def test_step_is_taken_or_refused_entirely_if_reading_a_gradient_runs_other_code(name: str) -> None:
    """When the step reads one of the gradients, `ACTS[name]` is called.

    Either all parameters are stepped or none is. Later steps are correct. Neither of these two facts is checked if
    `ACTS[name]` itself changes a parameter.
    """

    def case(taken: int, at: int, zero: bool) -> None:
        """Take `taken` usual steps, and then one in which `grads[at]` calls `ACTS[name]` and `zero_grads` is `zero`."""
        import warnings

        warnings.simplefilter("ignore")
        w = World()
        for _ in range(taken):
            w.opt.step(w.grads)
        before = [p.tobytes() for p in w.params]
        grads = w.grads
        grads[at] = Offer(grads[at], lambda: ACTS[name](w))
        try:
            w.opt.step(grads, zero_grads=zero)
            whole = True
        except (*REFUSALS, KeyboardInterrupt) as error:
            whole = False
            assert "Adam" in str(error) or isinstance(error, KeyboardInterrupt)
        if not name.startswith("changes a parameter"):
            assert all((p.tobytes() != b) is whole for p, b in zip(w.params, before, strict=True))
            if w.opt._plan.reserved_by == "":  # inside averaged(), no step can be taken
                w.goes_on()

    for taken in (0, 1):
        for at in (1, 2):
            assert survives(lambda t=taken, a=at: case(t, a, a == 2))  # type: ignore[misc]


class GradientOf(Offer):
    """A gradient whose `__dlpack__` returns the result of `capsule()`, and whose `__dlpack_device__` returns `device`.

    The device (1, 0) is the CPU.
    """

    def __init__(self, capsule: Callable[[], Any], device: Any = (1, 0)) -> None:
        self.capsule, self.device = capsule, device

    def __dlpack_device__(self) -> Any:
        return self.device

    def __dlpack__(self, **options: Any) -> Any:
        return self.capsule()


class Managed(ctypes.Structure):
    """The struct DLManagedTensor of DLPack before version 1.0."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    ]


KEPT: list[Any] = []  # the memory that capsules point to
MEMORY = (ctypes.c_float * 16)(*range(16))
NEW = ctypes.pythonapi.PyCapsule_New
NEW.restype, NEW.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


def capsule(name: bytes = b"dltensor", shape: tuple[int, ...] | None = (5,), strides: Any = None, **fields: Any) -> Any:
    """Return a DLPack capsule of numbers in `MEMORY`, by default of the first five.

    `fields` replaces fields of the struct.
    """
    axes = None if shape is None else (ctypes.c_int64 * 70)(*shape)
    steps = None if strides is None else (ctypes.c_int64 * 70)(*strides)
    usual = {"data": ctypes.addressof(MEMORY), "device_type": 1, "ndim": 1, "code": 2, "bits": 32, "lanes": 1}
    managed = Managed(**{**usual, **fields})
    managed.shape = ctypes.cast(axes, ctypes.POINTER(ctypes.c_int64)) if axes else None
    managed.strides = ctypes.cast(steps, ctypes.POINTER(ctypes.c_int64)) if steps else None
    KEPT.append((axes, steps, managed, name))
    return NEW(ctypes.addressof(managed), name, None)


# Functions that return correct capsules of five numbers.
RIGHT = {
    "no strides": lambda: capsule(),
    "a stride of 2": lambda: capsule(strides=(2,)),
    "an offset": lambda: capsule(byte_offset=8),
    "a negative stride": lambda: capsule(strides=(-1,), byte_offset=60),
}
# Functions whose results are not correct capsules of five numbers of float32 in CPU memory.
WRONG: dict[str, Callable[[], Any]] = {
    "another name": lambda: capsule(b"something"),
    "a used capsule": lambda: capsule(b"used_dltensor"),
    "no name": lambda: NEW(1, None, None),
    "None": lambda: None,
    "a number": lambda: 3.0,
    "an array": lambda: np.zeros(5, np.float32),
    "70 axes": lambda: capsule(ndim=70),
    "2**31 - 1 axes": lambda: capsule(ndim=2**31 - 1),
    "-1 axes": lambda: capsule(ndim=-1),
    "no shape": lambda: capsule(shape=None),
    "another shape": lambda: capsule(shape=(4,)),
    "no memory": lambda: capsule(data=None),
    "another device": lambda: capsule(device_type=2),
    "integers": lambda: capsule(code=0),
    "two lanes": lambda: capsule(lanes=2),
    "64 bits": lambda: capsule(bits=64),
    "8 bits": lambda: capsule(bits=8),
    "an odd offset": lambda: capsule(byte_offset=1),
}


def test_dlpack_gradients_of_every_layout_give_the_same_step_as_numpy_arrays() -> None:
    """These gradients are read-only, so a step with `zero_grads=True` refuses them."""
    for name, make in RIGHT.items():
        w = World()
        numbers = {"no strides": range(5), "a stride of 2": range(0, 10, 2), "an offset": range(2, 7)}
        want = numbers.get(name, range(15, 10, -1))
        other = World()
        w.opt.step([w.grads[0], GradientOf(make), None])
        other.opt.step([other.grads[0], np.array(want, np.float32), None])
        assert np.array_equal(w.params[1], other.params[1]), name
        with pytest.raises(ValueError, match="writeable"):
            w.opt.step([None, GradientOf(make), None], zero_grads=True)


@pytest.mark.parametrize("name", WRONG)
def test_step_refuses_wrong_dlpack_capsules(name: str) -> None:
    """Later steps with correct gradients are taken."""

    def case() -> None:
        w = World()
        with pytest.raises((ValueError, TypeError), match=r"Adam.step: grads\[1\]"):
            w.opt.step([w.grads[0], GradientOf(WRONG[name]), w.grads[2]])
        w.goes_on()
        assert all(not np.array_equal(p, s) for p, s in zip(w.params, w.start, strict=True))

    assert survives(case)


@pytest.mark.parametrize("device", [None, (), (2, 0), ("cpu", 0), 1, (2**40, 0)])
def test_step_refuses_wrong_dlpack_devices(device: Any) -> None:
    def case() -> None:
        w = World()
        with pytest.raises(ValueError, match=r"Adam.step: grads\[1\]"):
            w.opt.step([w.grads[0], GradientOf(capsule, device), w.grads[2]])

    assert survives(case)


class Growing(dict[str, Any]):
    """A dict that loses its entries when an entry is read, and gets an entry when its length is asked for."""

    def __getitem__(self, key: str) -> Any:
        self.clear()
        return super().__getitem__(key)

    def __len__(self) -> int:
        self["new"] = None
        return 3


class Key(str):
    """A name that clears the dict `table` when it is compared."""

    table: dict[Any, Any] = {}

    def __eq__(self, other: object) -> bool:
        self.table.clear()
        return str(self) == other

    def __hash__(self) -> int:
        return hash(str(self))


def test_gradients_in_unusual_mappings_and_lists_are_used_or_refused() -> None:
    """Some of these collections change while the step reads them. A refused step changes no parameter.

    `right` is True if the step must be taken, False if it must be refused, and None if both are allowed.
    """

    def case(make: Callable[[dict[str, Any]], Any], right: bool | None) -> None:
        p = {"a": np.ones(3, np.float32), "b": np.ones(2, np.float32)}
        opt = fs.SGD(p, lr=0.5)
        taken = True
        try:
            opt.step(make({"a": np.ones(3, np.float32), "b": np.ones(2, np.float32)}))
        except REFUSALS:
            taken = False
        assert right in (taken, None)
        assert all((a == (0.5 if taken else 1)).all() for a in p.values())

    class Many(list):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return 5

    def acting(d: dict[str, Any]) -> Any:
        Key.table = {Key(k): v for k, v in d.items()}
        return Key.table

    for make, right in (
        (UserDict, True),
        (OrderedDict, True),
        (Growing, None),
        (acting, None),
        (lambda d: Many(d.values()), True),
        (lambda d: iter(d.values()), False),
        (lambda d: {**d, 1: None}, False),
        (lambda d: {"a": d["a"]}, False),
    ):
        assert survives(lambda m=make, r=right: case(m, r))  # type: ignore[misc]


def test_stress_test_of_half_a_second_finds_no_fault() -> None:
    """Threads change the arrays of an optimizer while another thread steps it.

    `python tests/stress_snapshot.py` runs the same test for a longer time.
    """
    assert survives(lambda: stress(arrays, 0.5))
