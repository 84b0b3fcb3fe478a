"""A step that refuses wrong gradients or options changes no byte of parameters, gradients, states and averages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import fusedstep as fs
from support.bits import Array
from support.oracle import CLASSES, every_class
from support.refusals import HUGE, NO_PARAMETERS, assert_refused, ones


class World:
    """An optimizer after one step, and copies of the bytes of all arrays that a step can write."""

    def __init__(self, cls: type[fs.optim.Optimizer] = fs.AdamW) -> None:
        self.params = {"w": ones(4, 3), "b": ones(3)}
        self.opt = cls(self.params, ema_decay=0.5, weight_decay=0.1)
        self.grads: dict[str, Any] = {"w": ones(4, 3), "b": ones(3)}
        self.opt.step(self.grads)
        self.label = f"{cls.__name__}.step: "
        self.before = self.bytes()

    def bytes(self) -> list[bytes]:
        state = [a for s in self.opt.state.values() for a in s.values()]
        return [a.tobytes() for a in (*self.params.values(), *self.grads.values(), *state, *self.opt.ema.values())]

    def assert_refuses(self, error: type[Exception], *words: str, grads: Any = None, **options: Any) -> None:
        """Assert that a step raises `error` with all `words` and writes nothing. Assert that a later step works."""
        with assert_refused(error, *words):
            self.opt.step(self.grads if grads is None else grads, **options)
        assert self.bytes() == self.before and self.opt.steps == 1
        self.opt.step([ones(4, 3), None])
        assert self.opt.steps == 2


# Names of the arrays in NO_PARAMETERS that can be gradients, because a step without zero_grads only reads gradients.
GOOD_GRADIENTS = {"read-only", "bytes", "broadcast", "overlapping", "gaps", "backwards", "columns"}


# A NumPy scalar can be the gradient of a zero-dimensional parameter. The parameter "b" has the shape (3,).
NO_GRADIENTS = {**NO_PARAMETERS, "scalar": (lambda: np.float32(1), ValueError, "of shape (3,)", "NumPy scalar float32")}


@pytest.mark.parametrize("name", sorted(NO_GRADIENTS.keys() - GOOD_GRADIENTS - {"none"}))
def test_step_refuses_an_object_that_cannot_be_a_gradient(name: str) -> None:
    """The gradients are given as a list, and then as a dict with `zero_grads=True`."""
    make, error, need, got = NO_GRADIENTS[name]
    world = World()
    world.assert_refuses(error, world.label, 'grads[1] ("b") must be', need, got, grads=[ones(4, 3), make()])
    world = World()
    world.assert_refuses(
        error, 'grads[1] ("b") must be', need, got, grads={"b": make(), "w": ones(4, 3)}, zero_grads=True
    )


@every_class
def test_step_refuses_gradients_of_another_shape_or_dtype(cls: Any) -> None:
    for bad in (ones(4), ones(1, 3), ones(3, 1), ones(0), ones(3, dtype=np.float64), np.ones((), np.float32)):
        other = " (or 16-bit)" if bad.shape == (3,) else ""
        need = f"must be float32{other} of shape (3,)"
        for given in ([ones(4, 3), bad], (ones(4, 3), bad)):
            words = f'{cls.__name__}.step: grads[1] ("b") ', need, bad.dtype.name, str(bad.shape)
            World(cls).assert_refuses(ValueError, *words, grads=given)
    World(cls).assert_refuses(ValueError, "must be float32 of shape (4, 3)", "(3, 4)", grads=[ones(3, 4), ones(3)])


@pytest.mark.parametrize(
    ("grads", "error", "words"),
    [
        ([], ValueError, ["grads must have 2 entries", "got 0"]),
        ([ones(4, 3)], ValueError, ["grads must have 2 entries", "got 1"]),
        ([ones(4, 3), ones(3), ones(3)], ValueError, ["grads must have 2 entries", "got 3"]),
        ({"w": ones(4, 3)}, ValueError, ["grads must have the parameters' names as keys", "missing ['b']"]),
        ({"w": ones(4, 3), "b": ones(3), "c": ones(3)}, ValueError, ["unknown ['c']"]),
        (ones(2, 3), TypeError, ["grads must be a list, a tuple or a dict of arrays", "ndarray"]),
        ((g for g in (ones(4, 3), ones(3))), TypeError, ["grads must be a list, a tuple or a dict", "generator"]),
        (3.0, TypeError, ["grads must be a list, a tuple or a dict", "float"]),
        ("ab", TypeError, ["grads must be a list, a tuple or a dict", "str"]),
    ],
)
def test_step_refuses_missing_or_extra_gradients_and_wrong_containers(
    grads: Any, error: type[Exception], words: list[str]
) -> None:
    World().assert_refuses(error, "AdamW.step: ", *words, grads=grads)


@every_class
def test_step_refuses_gradients_that_share_memory_with_arrays_that_it_writes(cls: Any) -> None:
    """The gradient is a view of a parameter, a state or an averaged parameter, in four layouts."""

    def arrays(w: World) -> dict[str, Array]:
        state = {f"state[{k}]": a for k, s in enumerate(w.opt.state.values()) for a in s.values() if a.ndim}
        averages = {f"ema[{k}]": a for k, a in enumerate(w.opt.ema.values())}
        return {"params[0]": w.params["w"], "params[1]": w.params["b"], **state, **averages}

    for what in arrays(World(cls)):
        for pick in (lambda a: a, lambda a: a.T, lambda a: a[..., ::-1], lambda a: a[..., 1:2]):
            world = World(cls)
            shared = pick(arrays(world)[what])
            k = shared.ndim % 2  # index of the parameter that has as many axes as `shared`
            shape = (4, 3) if k == 0 else (3,)
            if shared.shape != shape:
                shared = np.broadcast_to(shared[:1, :1] if k == 0 else shared[:1], shape)
            grads = [shared, ones(3)] if k == 0 else [ones(4, 3), shared]
            world.assert_refuses(
                ValueError, f"grads[{k}]", "must be in memory of its own", f"shared with {what}", grads=grads
            )


def test_step_accepts_gradients_whose_elements_lie_between_those_of_other_arrays() -> None:
    """The arrays share a buffer, but no element."""
    whole = np.zeros((6, 8), np.float32)
    p = ones(3, 4)
    zero = np.broadcast_to(np.float32(0), (24,))
    assert fs.SGD([p, whole[:3].reshape(-1)]).step([whole[3:, ::2], zero]).step == 1
    table = np.zeros(30, np.float32)
    assert fs.SGD([table[10:20]]).step([table[:30:29].repeat(5)]).step == 1
    interleaved = np.zeros((10, 2), np.float32)
    pair = [interleaved[:, 0], interleaved[:, 1]]
    assert fs.SGD([ones(10), ones(10)]).step(pair, zero_grads=True).step == 1


@every_class
def test_step_refuses_gradients_that_zero_grads_cannot_zero(cls: Any) -> None:
    """A read-only gradient, a gradient with repeated elements, and two gradients with a shared element are refused.

    They are accepted without `zero_grads`.
    """
    same, fixed = ones(6), ones(3)
    fixed.flags.writeable = False
    crossed = as_strided(ones(9), (4, 3), (4, 4))
    for grads, words in (
        ([ones(4, 3), fixed], ["grads[1]", "writeable if zero_grads is True", "read-only float32 (3,)"]),
        ([np.broadcast_to(ones(3), (4, 3)), ones(3)], ["grads[0]", "if zero_grads is True"]),
        ([crossed, ones(3)], ["grads[0]", "without repeated elements if zero_grads is True", "float32"]),
        ([as_strided(same, (4, 3), (0, 4), writeable=True), ones(3)], ["grads[0]", "without repeated elements"]),
    ):
        World(cls).assert_refuses(ValueError, *words, grads=grads, zero_grads=True)
        World(cls).opt.step(grads)
    whole = ones(14)
    pair = [whole[:12].reshape(4, 3), whole[11:]]
    words = ["grads[1]", "in memory of its own if zero_grads is True", "grads[0]"]
    World(cls).assert_refuses(ValueError, *words, grads=pair, zero_grads=True)
    World(cls).opt.step(pair)
    assert (whole == 1).all() and (same == 1).all()


NEEDS_OF_A_STEP: dict[str, tuple[list[Any], str]] = {
    "lr": ([-1.0], "at least 0"),
    "clip_norm": ([-1.0, -1e-300], "at least 0"),
    "clip_value": ([-1.0], "at least 0"),
    "grad_scale": ([0, -2.0], "above 0"),
    "decay_scale": ([-1.0], "at least 0"),
}


@pytest.mark.parametrize("name", NEEDS_OF_A_STEP)
def test_step_refuses_wrong_options_and_names_them(name: str) -> None:
    values, need = NEEDS_OF_A_STEP[name]
    for cls in CLASSES:
        what = f"{cls.__name__}.step: {name} must be"
        for value in values:
            World(cls).assert_refuses(ValueError, what, need, f"got {value!r}", **{name: value})
        for value in (np.nan, np.inf, HUGE):
            World(cls).assert_refuses(ValueError, what, "finite", "got ", **{name: value})
        for value in ("1", True, [1.0], np.array([1.0, 2.0])):
            World(cls).assert_refuses(TypeError, what, "a number", f"got {value!r}", **{name: value})


@pytest.mark.parametrize("name", ["skip_nonfinite", "zero_grads"])
def test_step_refuses_flags_that_are_not_true_or_false(name: str) -> None:
    for value in (None, 1, "no", np.array([True, False])):
        World().assert_refuses(
            TypeError, f"AdamW.step: {name} must be True or False", f"got {value!r}", **{name: value}
        )


def changed_dtype(a: Array) -> None:
    a.dtype = np.dtype("i4")


def changed_shape(a: Array) -> None:
    a.resize((3, 4), refcheck=False)


CHANGES: dict[str, tuple[Callable[[Array], Any], str]] = {
    "larger": (lambda a: a.resize(10_000, refcheck=False), "at the same memory address"),
    "smaller": (lambda a: a.resize(2, refcheck=False), "at the same memory address"),
    "shape": (changed_shape, "at the same memory address"),
    "dtype": (changed_dtype, "at the same memory address"),
    "read-only": (lambda a: a.setflags(write=False), "writeable"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("change", CHANGES)
@every_class
def test_step_refuses_a_parameter_whose_memory_shape_dtype_or_flags_changed(cls: Any, change: str) -> None:
    """The second of two parameters changes between two steps. The refused step leaves both parameters unchanged."""
    act, need = CHANGES[change]
    first, second = np.ones((4, 3), np.float32), np.ones((4, 3), np.float32)
    opt = cls({"a": first, "b": second})
    opt.step([ones(4, 3), ones(4, 3)])
    act(second)
    before = first.tobytes(), second.tobytes()
    grads = [ones(4, 3), ones(4, 3)]
    with assert_refused(ValueError, f'{cls.__name__}.step: params[1] ("b") must be', need):
        opt.step(grads)
    assert (first.tobytes(), second.tobytes()) == before and opt.steps == 1


def test_step_refuses_a_gradient_of_another_dtype_at_the_address_of_the_last_gradient() -> None:
    for _ in range(20):
        opt = fs.SGD([p := ones(3)])
        # The metadata makes NumPy allocate a new dtype object.
        opt.step([np.ones(3, np.dtype("f4", metadata={"the": "first"}))])
        # The new array and the new dtype are often at the freed addresses of the first array and the first dtype.
        other = np.ones(3, np.dtype("f4").newbyteorder(">"))
        before = p.tobytes()
        with assert_refused(TypeError, "native byte order"):
            opt.step([other])
        assert p.tobytes() == before


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_step_refuses_a_gradient_array_that_changed_since_the_last_step() -> None:
    """The dtype, the size or the write flag of an array changes after a step that accepted it."""
    world, g = World(), ones(3)
    world.opt.step([None, g])
    g.dtype = ">f4"
    with assert_refused(TypeError, 'grads[1] ("b") must be', "native byte order"):
        world.opt.step([None, g])
    g.dtype = "f4"
    g.resize(5, refcheck=False)
    with assert_refused(ValueError, "float32 of shape (3,)", "(5,)"):
        world.opt.step([None, g])
    g = ones(3)
    world.opt.step([None, g], zero_grads=True)
    g.setflags(write=False)
    with assert_refused(ValueError, "writeable if zero_grads is True"):
        world.opt.step([None, g], zero_grads=True)


@every_class
def test_step_accepts_numpy_scalars_as_gradients_of_zero_dimensional_parameters(cls: Any) -> None:
    """Arithmetic with zero-dimensional arrays has NumPy scalars as results.

    A step refuses NumPy scalars of a wrong dtype, and Python floats. If `zero_grads` is True, it refuses all scalars.
    """
    for dtype in (np.float32, np.float64):
        w, same = np.array(2.0, dtype), np.array(2.0, dtype)
        opt, twin = cls([w], lr=0.1), cls([same], lr=0.1)
        for k in range(4):
            gradient = np.array(3.0 + k, dtype)
            assert isinstance(gradient * w, np.generic)
            opt.step([gradient[()] if k % 2 else gradient])
            twin.step([gradient])
            assert w.tobytes() == same.tobytes()
        other, halves = (np.float64, " (or 16-bit)") if dtype == np.float32 else (np.float32, "")
        for bad, error, words in (
            (
                other(1),
                ValueError,
                f"must be {np.dtype(dtype)}{halves} of shape (); got NumPy scalar {np.dtype(other)}",
            ),
            (np.longdouble(1), TypeError, "must be float32, float64, float16 or bfloat16"),
            (np.int64(1), TypeError, "must be float32, float64, float16 or bfloat16"),
            (1.0, TypeError, "must be a numpy.ndarray of float32, float64, float16 or bfloat16; got float"),
        ):
            with assert_refused(error, words):
                opt.step([bad])
        with assert_refused(ValueError, "must be writeable if zero_grads is True", "read-only NumPy scalar"):
            opt.step([dtype(1)], zero_grads=True)
        assert w.tobytes() == same.tobytes() and opt.steps == 4
        opt.step([np.array(1.0, dtype)], zero_grads=True)


def test_arrays_with_interleaved_rows_and_no_repeated_element_are_accepted(torch: Any) -> None:
    """In a (4, 3) array with strides of 12 and 16 bytes, a row begins before the previous row ends.

    No two elements overlap. Such an array is used as a gradient, as a torch parameter, and as the output of dropout.
    """
    memory = np.zeros(32, np.float32)
    g = as_strided(memory, (4, 3), (12, 16))
    g[...] = 1
    assert memory.sum() == 12
    fs.SGD([ones(4, 3)]).step([g], zero_grads=True)
    assert not memory.any()
    p = torch.zeros(32).as_strided((4, 3), (3, 4)).requires_grad_()
    p.grad = torch.ones(4, 3)
    fs.torch.SGD([p], lr=1.0).step()
    assert (p == -1).all()
    assert fs.dropout(ones(4, 3), 0.5, fs.Key(1, 2), out=g) is g
