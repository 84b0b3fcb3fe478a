"""Between steps, the tests change tensors, parameter groups or states. The next step is correct or raises an error.

Each case runs in its own process, because a wrong step can crash the process.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable
from typing import Any

import pytest

from support.snapshots import survives
from support.torch_worlds import LARGE, World

Change = Callable[[World], object]


@pytest.fixture(autouse=True, scope="module")
def warm(torch: Any) -> None:
    """Take a step, so that child processes need not load the modules that torch's first step imports."""
    World().goes_on()


def held(w: World, what: str) -> Any:
    """Return the first parameter of `w`, its gradient, or its state with the name `what`."""
    p = w.params[0]
    return {"parameter": p, "gradient": p.grad}[what] if what in ("parameter", "gradient") else w.state[what]


HELD = ["parameter", "gradient", "exp_avg", "step", "ema"]
every_held = pytest.mark.parametrize("what", HELD)


@every_held
@pytest.mark.parametrize("left", [0, 4, 16])
def test_shrunk_storages_are_refused(what: str, left: int, torch: Any) -> None:
    """The test shrinks the storage of a tensor to `left` bytes. A step is then refused.

    When the storage is large enough again, steps are correct.
    """

    def case(size: int) -> None:
        w = World(sizes=((size,), (5,)), ema_decay=0.9)
        for taken in range(2 if what in ("parameter", "gradient") else 1):
            if taken or what not in ("parameter", "gradient"):
                w.opt.step()
            tensor = held(w, what)
            if tensor.untyped_storage().nbytes() <= left:
                return
            tensor.untyped_storage().resize_(left)
            assert not w.step("storage" if left else "")
            tensor.untyped_storage().resize_(4 * size)
            tensor.data.zero_()
        w.goes_on()

    for size in (1000, LARGE):
        assert survives(lambda n=size: case(n))  # type: ignore[misc]


@pytest.mark.parametrize("size", [1, 2, 12, 1000])
@every_held
def test_negative_views_are_stepped_correctly_or_refused(what: str, size: int, torch: Any) -> None:
    """A tensor gets torch's negative bit. Its values are then the numbers in memory, multiplied by -1.

    A parameter or a gradient gets the bit before the first step. To test a state, the test takes a step and then
    replaces the state by a tensor with the bit. If a tensor gets the bit between two steps but keeps its address and
    strides, the second step does not detect the bit. This is not tested.
    """

    def case(before: bool, assign: bool) -> None:
        w = World(sizes=((size,), (5,)), ema_decay=0.9)
        if not before:
            w.opt.step()
            if assign or what in ("parameter", "gradient"):
                return
        elif what not in ("parameter", "gradient"):
            return
        tensor = held(w, what)
        turned = torch._neg_view(tensor.detach())
        if assign or what == "parameter":
            tensor.data = turned
        elif what == "gradient":
            w.params[0].grad = turned
        else:
            w.state[what] = turned
        want = w.expected() if what in ("exp_avg",) else None
        if w.step():
            assert want is not None, "the step ignored the negative bit of a tensor"
            torch.testing.assert_close(w.params[0].detach(), want[0], rtol=1e-5, atol=1e-6)

    for before in (False, True):
        for assign in (False, True):
            assert survives(lambda b=before, a=assign: case(b, a))  # type: ignore[misc]


def test_imaginary_parts_of_conjugates_are_used_correctly_or_refused(torch: Any) -> None:
    """Torch conjugates lazily: each value of ``z.conj().imag`` is the number in memory, multiplied by -1.

    As a gradient, the imaginary part is used correctly or refused. As a parameter, it is refused.
    """

    def case(size: int) -> None:
        w = World("SGD", sizes=((size,),))
        w.params[0].grad = torch.complex(torch.ones(size), torch.ones(size)).conj().imag.view(size)
        want = w.expected()
        if w.step("plain numbers"):
            torch.testing.assert_close(w.params[0].detach(), want[0])
        q = torch.nn.Parameter(torch.complex(torch.ones(size), torch.ones(size)).conj().imag)
        with pytest.raises(ValueError, match="plain numbers"):
            type(w.opt)([q], lr=0.1)

    for size in (1, 5):
        assert survives(lambda n=size: case(n))  # type: ignore[misc]


#: Name -> function of torch and a state. It returns the new state. `...` stands for the parameter itself.
STATES: dict[str, Callable[[Any, Any], Any]] = {
    "float64": lambda torch, t: t.double(),
    "bfloat16": lambda torch, t: t.bfloat16(),
    "integers": lambda torch, t: t.long(),
    "longer": lambda torch, t: torch.zeros(7, 3),
    "shorter": lambda torch, t: torch.zeros(1),
    "another number of axes": lambda torch, t: torch.zeros(2, 2, 3),
    "empty": lambda torch, t: torch.zeros(0),
    "on meta": lambda torch, t: t.to("meta"),
    "sparse": lambda torch, t: torch.zeros(4, 3).to_sparse(),
    "a list": lambda torch, t: [0.0] * 12,
    "None": lambda torch, t: None,
    "a string": lambda torch, t: "nothing",
    "the parameter itself": lambda torch, t: ...,
    "expanded from one number": lambda torch, t: torch.zeros(1, 1).expand(4, 3),
    "with gaps": lambda torch, t: torch.zeros(4, 6)[:, ::2],
    "transposed": lambda torch, t: torch.zeros(3, 4).t(),
    "with a graph": lambda torch, t: torch.zeros(4, 3, requires_grad=True) * 1,
}


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("name", ["exp_avg", "ema", "step"])
def test_replaced_states_are_used_or_refused(name: str, kind: str, torch: Any) -> None:
    """The test replaces a state, or only its `data`. If a step accepts the new state, the next steps are correct."""

    def case(in_place: bool) -> None:
        w = World(ema_decay=0.9)
        w.opt.step()
        new = STATES[kind](torch, w.state[name])
        new = w.params[0].data if new is ... else new
        if not in_place:
            w.state[name] = new
        else:
            try:
                w.state[name].data = new
            except (TypeError, RuntimeError):
                return
        if w.step("must"):
            w.goes_on()

    for in_place in (False, True):
        assert survives(lambda i=in_place: case(i))  # type: ignore[misc]


def gradients(torch: Any) -> dict[str, tuple[Any, bool]]:
    """Return a dict from name to (gradient, usable). The gradients are for a parameter of shape (4, 3).

    `usable` is True if a step must accept the gradient, and False if it must refuse the gradient.
    """
    return {
        "expanded from one number": (torch.ones(1, 1).expand(4, 3), True),
        "expanded from one column": (torch.ones(4, 1).expand(4, 3), True),
        "with elements that share memory": (torch.ones(20).as_strided((4, 3), (1, 1)), True),
        "with gaps": (torch.ones(4, 6)[:, ::2], True),
        "transposed": (torch.ones(3, 4).t(), True),
        "with a graph": (torch.ones(4, 3, requires_grad=True) * 2, True),
        "on meta": (torch.ones(4, 3, device="meta"), False),
        "sparse": (torch.ones(4, 3).to_sparse(), False),
        "float64": (torch.ones(4, 3, dtype=torch.float64), False),
        "of another shape": (torch.ones(3, 4), False),
    }


def test_unusual_gradients_are_used_correctly_or_refused(torch: Any) -> None:
    def case(kind: str, taken: int) -> None:
        w = World()
        for _ in range(taken):
            w.opt.step()
        gradient, usable = gradients(torch)[kind]
        p = w.params[0]
        p.grad = None
        if gradient.dtype != p.dtype:
            p.grad_dtype = gradient.dtype
        try:
            p.grad = gradient
        except RuntimeError:  # torch itself refuses this gradient
            return
        want = w.expected() if usable else []
        assert w.step() is usable
        for a, b in zip(w.params, want, strict=False):
            torch.testing.assert_close(a.detach(), b, rtol=1e-5, atol=1e-6)
        p.grad = None
        p.grad_dtype = torch.float32
        w.goes_on()

    for kind in gradients(torch):
        for taken in (0, 1):
            assert survives(lambda k=kind, t=taken: case(k, t)), kind  # type: ignore[misc]


def test_strided_parameters_are_refused_only_if_elements_share_memory(torch: Any) -> None:
    def case(strides: tuple[int, int], usable: bool) -> None:
        p = torch.nn.Parameter(torch.ones(40).as_strided((4, 3), strides))
        w = World()
        w.params[0] = p
        p.grad = torch.randn(4, 3)
        if not usable:
            with pytest.raises(ValueError, match="do not share memory with each other"):
                w.opt.add_param_group({"params": [p]})
            return
        w.opt.param_groups[0]["params"][0] = p
        w.goes_on()

    for strides, usable in (((3, 4), True), ((1, 4), True), ((1, 1), False), ((2, 1), False), ((0, 1), False)):
        assert survives(lambda s=strides, r=usable: case(s, r)), strides  # type: ignore[misc]


def test_parameters_whose_columns_alternate_in_memory_are_stepped_correctly(torch: Any) -> None:
    """In one buffer, columns of two parameters and of a gradient alternate, without overlap.

    At the end, a parameter gets a gradient that overlaps it. The step is refused.
    """

    def case(zero: bool) -> None:
        both, slopes = torch.randn(6, 8), torch.randn(6, 8)
        w = World()
        w.params[:] = [torch.nn.Parameter(both[:, k::4]) for k in range(2)]
        w.opt = type(w.opt)(w.params, lr=0.1, zero_grads=zero)
        for k, p in enumerate(w.params):
            p.grad = both[:, k + 2 :: 4] if k else slopes[:, ::4]
        want = w.expected()
        w.opt.step()
        for p, q in zip(w.params, want, strict=True):
            torch.testing.assert_close(p.detach(), q, rtol=1e-5, atol=1e-6)
            assert not zero or not p.grad.any()
        w.params[1].grad = both[:, 1:5:2]
        assert not w.step("memory")

    for zero in (False, True):
        assert survives(lambda z=zero: case(z))  # type: ignore[misc]


#: Changes of the parameter groups, the states or a parameter.
GROUPS: dict[str, Change] = {
    "parameters in a tuple": lambda w: w.opt.param_groups[0].update(params=tuple(w.params)),
    "no parameters": lambda w: w.opt.param_groups[0].pop("params"),
    "parameters that are None": lambda w: w.opt.param_groups[0].update(params=None),
    "numbers in place of parameters": lambda w: w.opt.param_groups[0].update(params=[1, 2]),
    "parameters in a string": lambda w: w.opt.param_groups[0].update(params="ab"),
    "a group that is a number": lambda w: w.opt.param_groups.append(3),
    "a group that is a UserDict": lambda w: w.opt.param_groups.__setitem__(0, UserDict(w.opt.param_groups[0])),
    "groups in a tuple": lambda w: setattr(w.opt, "param_groups", tuple(w.opt.param_groups)),
    "groups that are None": lambda w: setattr(w.opt, "param_groups", None),
    "too few names": lambda w: w.opt.param_groups[0].update(param_names=["a"]),
    "option names that are not text": lambda w: w.opt.param_groups[0].update({"\udc80": 1, 3: 4}),
    "a state that is a list": lambda w: w.opt.state.__setitem__(w.params[0], [1]),
    "a state that is a UserDict": lambda w: w.opt.state.__setitem__(w.params[0], UserDict(w.opt.state[w.params[0]])),
    "states that are a list": lambda w: setattr(w.opt, "state", []),
    "a parameter twice": lambda w: w.opt.param_groups[0].update(params=[*w.params, w.params[0]]),
    "a complex parameter": lambda w: setattr(w.params[0], "data", w.torch.ones(4, 3, dtype=w.torch.complex64)),
    "a parameter in float64": lambda w: setattr(w.params[0], "data", w.params[0].data.double()),
}
#: A step must accept these changes. It may accept or refuse all others.
ACCEPTED = ("option names that are not text", "a parameter twice")


@pytest.mark.parametrize("change", GROUPS)
def test_unusual_groups_and_states_are_accepted_or_refused_without_a_crash(change: str, torch: Any) -> None:
    def case(taken: int) -> None:
        w = World()
        for _ in range(taken):
            w.opt.step()
        GROUPS[change](w)
        assert w.step("must") or change not in ACCEPTED
        w.step()

    for taken in (0, 1, 2):
        assert survives(lambda t=taken: case(t))  # type: ignore[misc]


def test_steps_are_refused_if_memory_is_replaced_inside_averaged(torch: Any) -> None:
    """Inside the context `averaged`, the parameters have the values of their averages.

    The context cannot restore a parameter whose memory was replaced. It ends with an error, and later steps are
    refused.
    """

    def case(change: Change) -> None:
        w = World(ema_decay=0.9)
        w.opt.step()
        with pytest.raises(ValueError, match="as when the optimizer was made"), w.opt.averaged():
            change(w)
        assert not w.step("averaged")

    for change in (
        lambda w: setattr(w.params[0], "data", torch.zeros(4, 3)),
        lambda w: w.params[1].untyped_storage().resize_(4),
        lambda w: setattr(w.params[0], "data", w.params[0].data.t().contiguous().t()),
    ):
        assert survives(lambda c=change: case(c))  # type: ignore[misc]


@pytest.mark.parametrize("dtypes", [("float32", "bfloat16"), ("bfloat16", "float32"), ("float16", "bfloat16")])
def test_gradient_of_another_dtype_gives_the_same_step_as_its_float32_copy(dtypes: tuple[str, str], torch: Any) -> None:
    """`dtypes` are the dtypes of the parameter and of the gradient."""

    def case() -> None:
        mine, slopes = (getattr(torch, d) for d in dtypes)
        found = []
        for wide in (False, True):
            p = torch.nn.Parameter(torch.linspace(-2, 3, 700).to(mine))
            p.grad_dtype = torch.float32 if wide else slopes
            g = torch.linspace(-1, 1, 700).to(slopes)
            p.grad = g.float() if wide else g
            opt = World().opt.__class__([p], lr=0.1)
            opt.step()
            found.append((p.detach().clone(), opt.state[p]["exp_avg"].clone()))
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
        assert not torch.equal(found[0][0], torch.linspace(-2, 3, 700).to(mine))

    assert survives(case)
