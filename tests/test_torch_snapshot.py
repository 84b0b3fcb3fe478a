"""If user code changes tensors, groups or states during a step, the step is correct or raises an error.

Each case runs in its own process, because a wrong step can crash the process. User code can run during a step: when the
step converts a learning rate to a float, when it reads the `grad` of a subclass of Parameter, or in another thread.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from stress_snapshot import stress, tensors
from support.snapshots import REFUSALS, survives
from support.torch_cases import ours
from support.torch_worlds import LARGE, World

Act = Callable[[World], object]


@pytest.fixture(autouse=True, scope="module")
def warm(torch: Any) -> None:
    """Take steps, so that child processes need not load the modules that torch's first step imports."""
    World().goes_on()


class Rate:
    """A learning rate. Its first conversion to a float calls the function `act`."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act: Callable[[], object] | None = act

    def __float__(self) -> float:
        act, self.act = self.act, None
        if act is not None:
            act()
        return 0.1


def acting_gradient(w: World, act: Callable[[], object]) -> None:
    """Change the class of the last parameter of `w`. The first read of this parameter's `grad` then calls `act`."""
    torch = w.torch
    todo = [act]

    class Acting(torch.nn.Parameter):  # type: ignore[name-defined,misc]
        @property
        def grad(self) -> Any:
            if todo:
                todo.pop()()
            return torch.Tensor.grad.__get__(self)

        @grad.setter
        def grad(self, value: Any) -> None:
            torch.Tensor.grad.__set__(self, value)

    w.params[-1].__class__ = Acting


# The following functions are called during a step. Each changes the parameters or the optimizer of the `World` `w`.


def sets_data(w: World) -> None:
    w.params[0].data = w.torch.randn(4, 3)


def sets_shorter_data(w: World) -> None:
    w.params[0].data = w.torch.randn(1)


def appends_groups(w: World) -> None:
    for _ in range(50):
        q = w.torch.nn.Parameter(w.torch.randn(3))
        q.grad = w.torch.randn(3)
        w.opt.add_param_group({"params": [q]})


def appends_bare_groups(w: World) -> None:
    q = w.torch.nn.Parameter(w.torch.randn(3))
    q.grad = w.torch.randn(3)
    w.opt.param_groups += [{**w.opt.param_groups[0], "params": [q]}] * 50


def drops_groups(w: World) -> None:
    del w.opt.param_groups[:]


def drops_parameters(w: World) -> None:
    del w.opt.param_groups[0]["params"][:]


def replaces_parameters(w: World) -> None:
    w.opt.param_groups[0]["params"] = [w.params[1]]


def clears_state(w: World) -> None:
    w.opt.state.clear()


def clears_entries(w: World) -> None:
    for entry in w.opt.state.values():
        entry.clear()


def removes_a_state(w: World) -> None:
    del w.state["exp_avg"]


def replaces_a_state(w: World) -> None:
    w.state["exp_avg"] = w.torch.ones(1)


def replaces_state(w: World) -> None:
    from collections import defaultdict

    w.opt.state = defaultdict(dict)


def drops_gradient(w: World) -> None:
    w.params[0].grad = None


def replaces_gradient(w: World) -> None:
    w.params[0].grad = w.torch.randn(4, 3)


def gradients_of_another_shape(w: World) -> None:
    w.params[0].data, w.params[0].grad = w.torch.randn(2), None
    w.params[0].grad = w.torch.randn(2)


def shrinks_gradient(w: World) -> None:
    for p in w.params:
        if p.grad is not None:
            p.grad.untyped_storage().resize_(4)


def shrinks_parameter(w: World) -> None:
    w.params[0].untyped_storage().resize_(4)


def shrinks_state(w: World) -> None:
    for entry in w.opt.state.values():
        for s in entry.values():
            s.untyped_storage().resize_(0)


def steps(w: World) -> None:
    w.opt.step()


def loads(w: World) -> None:
    w.opt.load_state_dict(w.opt.state_dict())


def averages(w: World) -> None:
    context = w.opt.averaged()
    context.__enter__()
    context.__exit__(None, None, None)


def averages_and_stays(w: World) -> None:
    w.opt.averaged().__enter__()


def swaps_tensors(w: World) -> None:
    other = w.torch.nn.Parameter(w.torch.randn(2))
    w.torch.utils.swap_tensors(w.params[0], other)


def collects(w: World) -> None:
    import gc

    w.opt._forget()
    gc.collect()


# Changes of groups, parameters, gradients and states, and a step inside the step.
CHANGES: list[Act] = [
    sets_data,
    sets_shorter_data,
    appends_groups,
    appends_bare_groups,
    drops_groups,
    drops_parameters,
    replaces_parameters,
    clears_state,
    clears_entries,
    replaces_state,
    drops_gradient,
    replaces_gradient,
    gradients_of_another_shape,
    shrinks_gradient,
    shrinks_parameter,
    shrinks_state,
    steps,
]
DURING: list[Act] = [*CHANGES, loads, averages, averages_and_stays, swaps_tensors, collects]
# After these actions, later steps may be refused, because memory has been freed or replaced, or because the averages
# are in the parameters.
ENDS = (shrinks_parameter, shrinks_state, averages_and_stays, swaps_tensors, sets_shorter_data)


def name_of(act: Act) -> str:
    return act.__name__


def acts_during_a_step(act: Act, place: str, taken: int, size: tuple[int, ...]) -> None:
    """Take a step that calls `act`, after `taken` other steps. Then check that later steps are right.

    The step calls `act` when it reads the learning rate (if `place` is "lr"), or the gradient of the last parameter. If
    later steps may be refused after the action, only an error message that is not of fusedstep is a fault.
    """
    w = World(sizes=(size, (5,)), ema_decay=0.9)
    for _ in range(taken):
        w.opt.step()
    if place == "lr":
        w.opt.param_groups[0]["lr"] = Rate(lambda: act(w))
    else:
        acting_gradient(w, lambda: act(w))
    with contextlib.suppress(REFUSALS):
        w.opt.step()
    if act not in ENDS and act is not gradients_of_another_shape:
        w.goes_on()
    else:
        for group in w.opt.param_groups:
            group["lr"] = 0.1
        w.step()


@pytest.mark.parametrize("place", ["lr", "grad"])
@pytest.mark.parametrize("act", DURING, ids=name_of)
def test_step_is_right_or_refused_if_user_code_changes_tensors_groups_or_states(
    act: Act, place: str, torch: Any
) -> None:
    """The step calls the function `act` when it reads a learning rate or a gradient, as `place` says.

    Before this step, the optimizer takes `taken` other steps.

    Functions that free memory are also tested with a large parameter. The system takes back the memory of a large
    parameter, so that a wrong access crashes the process.
    """
    for taken in (0, 1, 2):
        assert survives(lambda t=taken: acts_during_a_step(act, place, t, (4, 3)))  # type: ignore[misc]
    if act in (sets_shorter_data, shrinks_gradient, shrinks_parameter, shrinks_state):
        assert survives(lambda: acts_during_a_step(act, place, 1, (LARGE // 3, 3)))


def calls_first(module: Any, function: str, act: Callable[[], object]) -> None:
    """Replace a function of a module. Its first call then begins with a call of `act`.

    This imitates another thread that calls `act` at this moment.
    """
    original, todo = getattr(module, function), [act]

    def replacement(*args: Any, **kwargs: Any) -> Any:
        if todo:
            todo.pop()()
        return original(*args, **kwargs)

    setattr(module, function, replacement)


def acts_inside(module: Any, function: str, act: Act, w: World) -> None:
    """Take a step that calls the action `act` when it first calls a function. Then check that later steps are right."""
    calls_first(module, function, lambda: act(w))
    with contextlib.suppress(REFUSALS):
        w.opt.step()
    for entry in w.opt.state.values():
        if not entry.keys() >= {"step", "exp_avg", "exp_avg_sq"}:
            entry.clear()  # because torch's optimizer, the reference, refuses an incomplete state
    if act not in ENDS and act is not gradients_of_another_shape:
        w.goes_on()


@pytest.mark.parametrize("act", CHANGES, ids=name_of)
def test_step_is_right_or_refused_if_user_code_runs_while_states_are_made(act: Act, torch: Any) -> None:
    """The first step makes the states with `torch.full_like`, which here calls `act`."""
    assert survives(lambda: acts_inside(torch, "full_like", act, World()))


@pytest.mark.parametrize("act", [*CHANGES, removes_a_state, replaces_a_state], ids=name_of)
@pytest.mark.parametrize("function", ["convert", "dtype_of_states"])
def test_step_is_right_or_refused_if_user_code_runs_while_states_are_converted(
    act: Act, function: str, torch: Any
) -> None:
    """The states `exp_avg` are bfloat16, so that the step converts them to float32.

    For the conversion, the step calls `convert` and `dtype_of_states`. Here, one of the two also calls `act`. The
    argument `function` says which one.
    """

    def case() -> None:
        from fusedstep.torch import _widths

        w = World()
        w.opt.step()
        for entry in w.opt.state.values():
            entry["exp_avg"] = entry["exp_avg"].to(torch.bfloat16)
        acts_inside(_widths, function, act, w)

    assert survives(case)


def test_if_one_state_is_refused_the_other_states_are_not_converted(torch: Any) -> None:
    """The state `exp_avg_sq` has a wrong shape. If the shape were right, `step` and `exp_avg` would be converted."""
    w = World()
    w.opt.step()
    entry = w.state
    entry |= {"step": 1, "exp_avg": entry["exp_avg"].to(torch.bfloat16), "exp_avg_sq": torch.ones(2)}
    before = dict(entry)
    assert not w.step("exp_avg_sq", "(4, 3)", "(2,)")  # refused, and the error message contains these words
    assert entry == before


def test_step_takes_the_default_of_an_option_that_is_removed_from_the_group(torch: Any) -> None:
    w = World("Adagrad")
    w.opt.state.clear()
    del w.opt.param_groups[0]["initial_accumulator_value"]
    w.opt.step()
    assert torch.equal(w.state["sum"], w.params[0].grad ** 2)  # 0 is the default of the option


def test_lookahead_uses_the_default_of_a_removed_option(torch: Any) -> None:
    p = torch.nn.Parameter(torch.ones(3))
    opt = ours("NAG")([p], lr=0.1, momentum=0.5)
    p.grad = torch.full((3,), 2.0)
    opt.step()
    del opt.param_groups[0]["momentum"]
    want = p.detach() - 0.1 * 0.9 * opt.state[p]["momentum_buffer"]  # 0.9 is the default of NAG
    with opt.lookahead():
        torch.testing.assert_close(p.detach(), want)


def test_averaged_uses_the_default_momentum_if_a_group_of_sgd_schedule_free_lacks_momentum(torch: Any) -> None:
    p = torch.nn.Parameter(torch.ones(3))
    opt = ours("SGDScheduleFree")([p], lr=0.1)
    p.grad = torch.full((3,), 2.0)
    opt.step()
    with opt.averaged():
        want = p.detach().clone()
    del opt.param_groups[0]["momentum"]
    with opt.averaged():
        assert torch.equal(p, want)


def test_states_that_share_memory_with_a_gradient_are_refused(torch: Any) -> None:
    """Here `torch.full_like`, which the step calls to make a state, returns a gradient."""

    def case() -> None:
        w = World(sizes=((5,), (5,)))
        made, given = torch.full_like, [w.params[1].grad]

        def full_like(*args: Any, **kwargs: Any) -> Any:
            return given.pop() if given else made(*args, **kwargs)

        torch.full_like = full_like
        assert not w.step("memory")  # refused, and the error message contains this word

    assert survives(case)


def test_short_stress_test_finds_no_fault(torch: Any) -> None:
    """The command `python tests/stress_snapshot.py` runs the same test for a longer time."""
    assert survives(lambda: stress(tensors, 1.0))


@pytest.mark.parametrize("same_thread", [False, True])
def test_end_of_averaged_during_a_step_waits_or_is_refused(same_thread: bool, torch: Any) -> None:
    """The test enters the context `averaged` when a step makes its first state.

    Then this step calls `detach` of its states. Here the states are of a subclass of Tensor with another `detach`. If
    `same_thread` is False, this `detach` starts a thread that ends the context. The new thread waits for the end of the
    step. It waits without the interpreter's lock, because the step needs this lock to run `detach`. If `same_thread` is
    True, `detach` itself ends the context. Then an error is raised, because the thread of the step would wait for
    itself.
    """

    def case() -> None:
        w = World(ema_decay=0.9)
        context = w.opt.averaged()
        leave = threading.Thread(target=context.__exit__, args=(None, None, None))

        class Slow(torch.Tensor):  # type: ignore[name-defined,misc]
            def detach(self) -> Any:
                if same_thread:
                    context.__exit__(None, None, None)
                elif leave.ident is None:
                    leave.start()
                    time.sleep(0.1)
                return super().detach()

        made = torch.full_like
        torch.full_like = lambda *args, **kwargs: made(*args, **kwargs).as_subclass(Slow)
        calls_first(torch, "full_like", context.__enter__)
        if same_thread:
            assert not w.step("averaged: must end outside of steps")
            return
        with contextlib.suppress(REFUSALS):
            w.opt.step()
        leave.join()
        torch.full_like = made
        w.goes_on()

    assert survives(case)
