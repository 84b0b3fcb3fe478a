"""Groups, missing gradients, averages and look-ahead. Most options of groups can be changed between steps."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep._base import checks as _checks
from support.bits import Array
from support.oracle import CLASSES, accepted, every_class, every_class_of_this_rate, snapshot, switches, variants

every_context = pytest.mark.parametrize(
    ("cls", "context"), [(c, name) for c in CLASSES for name in ("averaged", "lookahead") if hasattr(c, name)]
)
every_variant_with_lookahead = pytest.mark.parametrize(
    ("cls", "options"), [(c, options) for c in CLASSES if hasattr(c, "lookahead") for options in variants(c)]
)


@every_class
def test_parameter_without_gradient_does_not_change(cls: Any) -> None:
    """The average, the states and the step number of the parameter also do not change."""
    a, b = np.ones(5), np.ones(5)
    opt = cls([a, b], lr=0.1, ema_decay=0.5, weight_decay=0.1)
    first, g = b.tobytes(), np.full(5, 0.5)
    opt.step([g, None])
    opt.step((g, None))
    assert b.tobytes() == first and opt.ema[1].tobytes() == first
    assert opt._plan.tensor_steps == [2, 0] and opt.steps == 2
    untouched = cls([np.ones(5)]).state[0]
    assert all(s.tobytes() == untouched[name].tobytes() for name, s in opt.state[1].items())
    alone = np.ones(5)
    cls([alone], lr=0.1, weight_decay=0.1).step([g])
    opt.step([None, g])
    assert b.tobytes() == alone.tobytes(), "steps without a gradient must not count as steps of the parameter"


@every_class
def test_a_step_in_which_all_gradients_are_none_is_counted(cls: Any) -> None:
    opt = cls([p := np.ones(5)])
    info = opt.step([None], clip_norm=1.0, skip_nonfinite=True, zero_grads=True)
    assert (info.step, info.grad_norm, (p == 1).all()) == (1, 0.0, True)


@every_class
def test_optimizer_with_two_groups_equals_two_optimizers(cls: Any, rng: np.random.Generator) -> None:
    """The groups have different values of `lr`, `maximize` and `l1`."""
    a, b = rng.standard_normal((2, 100))
    g = rng.standard_normal((2, 100))
    mine = [a.copy(), b.copy()]
    opt = cls([{"params": mine[0]}, {"params": [mine[1]], "lr": 0.3, "maximize": True, "l1": 0.1}], lr=0.1)
    one, two = cls([a], lr=0.1), cls([b], lr=0.3, maximize=True, l1=0.1)
    for _ in range(3):
        opt.step(list(g))
        one.step([g[0]])
        two.step([g[1]])
    assert [m.tobytes() for m in mine] == [a.tobytes(), b.tobytes()]


@every_class
def test_change_of_a_group_takes_effect_with_the_next_step(cls: Any, rng: np.random.Generator) -> None:
    """The step equals the step of a new optimizer with the changed options."""
    a, g = rng.standard_normal((2, 100))
    b = a.copy()
    changed, fresh = cls([a], lr=0.1), cls([b], lr=0.02, weight_decay=0.3, decay="proximal", maximize=True)
    changed.groups[0].update({"lr": 0.02, "weight_decay": 0.3, "decay": "proximal", "maximize": True})
    changed.step([g])
    fresh.step([g])
    assert a.tobytes() == b.tobytes()
    assert changed.groups[0]["lr"] == 0.02 and "lr" in changed.groups[0]


@every_class
def test_groups_refuse_unknown_options_and_new_params(cls: Any) -> None:
    """Groups also refuse to remove an option, and refuse a wrong value. A refused change does not change the group."""
    opt = cls([np.ones(3)], lr=0.1)
    group, before = opt.groups[0], dict(opt.groups[0])
    with pytest.raises(
        ValueError, match=f"{cls.__name__}: learning_rate is not an option of a group; the options are lr, "
    ):
        group["learning_rate"] = 1
    with pytest.raises(ValueError, match="params cannot be changed"):
        group["params"] = [np.ones(3)]
    with pytest.raises(TypeError, match="lr cannot be removed"):
        del group["lr"]
    with pytest.raises(ValueError, match="lr must be at least 0; got -1"):
        group.update(lr=-1)
    assert dict(group) == before and len(group) == len(list(group))
    assert repr(group).startswith("{'params': <1 arrays>, 'lr': 0.1, ")


@every_class
def test_option_that_would_add_or_remove_a_state_array_cannot_be_changed(cls: Any) -> None:
    """Other options can be changed.

    After a change or a refused change, a step equals the step of a new optimizer that has the same options.
    """
    for name in switches(cls):
        value = True if cls.checks[name] is _checks.flag else 0.5
        if not accepted(cls, {name: value}):
            continue
        opt, other = cls([p := np.ones(3)]), cls([np.ones(3)], **{name: value})
        same = opt.state[0].keys() == other.state[0].keys()
        if same:
            opt.groups[0][name] = value
        else:
            with pytest.raises(ValueError, match=rf"groups\[0\]: {name} must be turned on or off when the"):
                opt.groups[0][name] = value
            assert opt.groups[0][name] == cls([np.ones(3)]).groups[0][name]
        opt.step([np.ones(3)])
        twin = np.ones(3)
        cls([twin], **({name: value} if same else {})).step([np.ones(3)])
        assert p.tobytes() == twin.tobytes()


@every_class_of_this_rate
def test_learning_rate_passed_to_step_is_used_for_this_step_only(cls: Any) -> None:
    """A learning rate that is passed to a refused step is never used."""
    a, b = np.ones(3), np.ones(3)
    once, plain = cls([a], lr=0.1), cls([b], lr=0.1)
    once.step([np.ones(3)], lr=0.0)
    assert (a == 1).all()
    with pytest.raises(ValueError):
        once.step([np.ones(4)], lr=7.0)
    plain.step([np.ones(3)], lr=0.0)
    once.step([np.ones(3)])
    plain.step([np.ones(3)])
    assert a.tobytes() == b.tobytes() and (a != 1).all()


@every_class
def test_schedule_is_called_with_the_step_number_which_does_not_count_skipped_steps(cls: Any) -> None:
    """The first step calls the schedule with 1. The second calls it with 2 and is skipped, so the third also uses 2."""
    asked: list[int] = []

    def schedule(t: int) -> float:
        asked.append(t)
        return 0.1

    opt = cls([np.ones(3)], lr=schedule)
    opt.step([np.ones(3)])
    opt.step([np.full(3, np.nan)], skip_nonfinite=True)
    opt.step([np.ones(3)])
    assert asked == [1, 2, 2]


def make(cls: Any) -> tuple[Any, list[Array]]:
    grads = [np.full((4, 3), 0.5), np.full(5, 0.5, np.float32)]
    opt = cls([np.ones((4, 3), order="F"), np.ones(5, np.float32)], lr=0.1, ema_decay=0.5)
    opt.step(grads)
    return opt, grads


@every_class
def test_averaged_swaps_the_averages_into_the_parameters(cls: Any) -> None:
    """After the context, also after an exception in it, the parameters are restored.

    Inside the context, `step`, `state_dict`, `load_state_dict` and a second `averaged` are refused.
    """
    opt, grads = make(cls)
    before, averages = snapshot(opt), [a.copy() for a in opt.ema]
    for error in (None, ZeroDivisionError):
        try:
            with opt.averaged():
                for p, a in zip(opt.params, averages, strict=True):
                    np.testing.assert_array_equal(p, a)
                if error:
                    raise error
        except ZeroDivisionError:
            assert error
        assert snapshot(opt) == before
    with opt.averaged():
        calls = lambda: opt.step(grads), opt.averaged().__enter__, opt.state_dict, lambda: opt.load_state_dict({})
        for call in calls:
            with pytest.raises(RuntimeError, match=rf"^{cls.__name__}\.\w+: cannot be called inside averaged\(\)$"):
                call()
    assert snapshot(opt) == before
    opt.step(grads)


@every_class
def test_ema_shows_the_averages_also_inside_averaged(cls: Any) -> None:
    """Inside the context `averaged`, `ema` shares memory with the parameters, which contain the averages."""
    opt, _ = make(cls)
    averages = [a.copy() for a in opt.ema]
    with opt.averaged():
        for shown, a, p in zip(opt.ema, averages, opt.params, strict=True):
            np.testing.assert_array_equal(shown, a)
            assert np.shares_memory(shown, p)
    for shown, a in zip(opt.ema, averages, strict=True):
        np.testing.assert_array_equal(shown, a)


@every_context
def test_parameter_made_read_only_in_a_context_is_restored(cls: Any, context: str) -> None:
    """The context is `averaged` or `lookahead`, which change the parameters.

    The end of the context restores the parameters, even if they are read-only.
    """
    opt, grads = make(cls)
    before = snapshot(opt)
    with getattr(opt, context)():
        opt.params[1].setflags(write=False)
    assert snapshot(opt) == before
    opt.params[1].setflags(write=True)
    opt.step(grads)


@every_context
def test_optimizer_refuses_all_calls_after_a_parameter_was_resized_in_a_context(cls: Any, context: str) -> None:
    """The context (`averaged` or `lookahead`) cannot restore the parameters, so its end raises an error."""
    opt, grads = make(cls)
    words = rf"{context}: params\[1\] must be at the same memory address, with the same layout and dtype, as when"
    with pytest.raises(ValueError, match=words), getattr(opt, context)():
        inside = opt.params[0].copy()
        opt.params[1].resize(7, refcheck=False)
    assert opt.params[0].tobytes() == inside.tobytes()  # no parameter is restored
    for call in (lambda: opt.step(grads), opt.state_dict, getattr(opt, context)().__enter__):
        with pytest.raises(RuntimeError, match=rf"cannot be called inside {context}\(\)"):
            call()


def test_lookahead_changes_nothing_if_the_schedule_returns_a_wrong_rate() -> None:
    """Afterwards, a step works if a correct learning rate is passed to it."""
    for rate in (np.nan, "fast", -1.0):
        opt = fs.NAG([p := np.ones(3)], lr=lambda t: rate)  # noqa: B023 (called in the same iteration)
        with pytest.raises((TypeError, ValueError), match=r"lr of groups\[0\] at step 1 must be"), opt.lookahead():
            pass
        assert (p == 1).all()
        opt.step([np.ones(3)], lr=0.1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@every_class
def test_entries_and_options_of_an_optimizer_cannot_be_assigned(cls: Any) -> None:
    """The entries are those of `params`, `ema`, `state` and `groups`. Most errors name what to use instead.

    `ema` and `state` contain views. If a user changes the shape or the writeable flag of a view, the optimizer does
    not change.
    """
    opt = cls({"w": np.ones((2, 3))}, ema_decay=0.5)
    for shown in (opt.params, opt.ema, opt.state, opt.groups):
        with pytest.raises(TypeError):
            shown[0] = None
    for views in (opt.ema, next(iter(opt.state.values()))):
        for a in views.values():
            a.shape = (a.size,)
            a.setflags(write=False)
    opt.step({"w": np.ones((2, 3))})
    assert all(a.shape in ((2, 3), ()) and a.flags.writeable for s in opt.state.values() for a in s.values())
    assert opt.ema["w"].shape == (2, 3)
    for name in cls._all_checks():
        with pytest.raises(AttributeError, match=rf'{name} is an option of a group; set groups\[0\]\["{name}"\]$'):
            setattr(opt, name, 0.5)
        with pytest.raises(AttributeError, match=rf'{name} is an option of a group; read groups\[0\]\["{name}"\]$'):
            getattr(opt, name)
    for name, hint in {
        "param_groups": "; it is called groups",
        "zero_grad": "; pass zero_grads=True",
        "x": "$",
    }.items():
        with pytest.raises(AttributeError, match=f"'{cls.__name__}' object has no attribute '{name}'{hint}"):
            getattr(opt, name)
    for name in ("ema_decay", "num_threads"):
        with pytest.raises(AttributeError, match=f"{name} cannot be changed; make a new optimizer"):
            setattr(opt, name, 1)


@every_class
def test_optimizer_refuses_copy_deepcopy_and_pickle(cls: Any) -> None:
    opt = cls([np.ones(3)])
    for act in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=f"^{cls.__name__} cannot be copied or pickled"):
            act(opt)


@pytest.mark.parametrize(("cls", "name"), [(c, name) for c in CLASSES for name in c.only_at_first])
def test_option_that_only_determines_the_initial_state_cannot_be_changed(cls: Any, name: str) -> None:
    """Loading a state dict is allowed, although it contains this option."""
    opt = cls([np.ones(3)])
    with pytest.raises(ValueError, match=f"{name} cannot be changed; make a new optimizer"):
        opt.groups[0][name] = opt.groups[0][name]
    opt.load_state_dict(opt.state_dict())


@every_class
def test_averaged_raises_an_error_without_ema_decay(cls: Any) -> None:
    if cls([np.ones(3)]).has_averages:
        return  # this class keeps averages without ema_decay
    need = "averaged: ema_decay must be given to the optimizer; it was None"
    with pytest.raises(RuntimeError, match=need), cls([np.ones(3)]).averaged():
        pass


@every_context
def test_context_refuses_a_read_only_parameter_and_changes_nothing(cls: Any, context: str) -> None:
    """When the parameter is writeable again, the context (`averaged` or `lookahead`) and a step work."""
    opt, grads = make(cls)
    opt.params[1].flags.writeable = False
    before = snapshot(opt)
    with pytest.raises(ValueError, match=rf"{context}: params\[1\] must be writeable"), getattr(opt, context)():
        pass
    assert snapshot(opt) == before
    opt.params[1].flags.writeable = True
    with getattr(opt, context)():
        pass
    opt.step(grads)


@every_variant_with_lookahead
def test_lookahead_subtracts_the_momentum_and_restores_the_parameters(cls: Any, options: dict[str, Any]) -> None:
    """Inside the context, the parameter p is replaced by ``p - lr * momentum * momentum_buffer``. Steps are refused.

    After the context, also after an exception in it, the parameter is p again.
    """
    momentum = options.get("momentum", 0.9)
    for lr in (0.1, lambda t: 0.3 / t):
        opt = cls([p := np.full(4, 2.0, np.float32)], lr=lr, **options)
        opt.step([np.full(4, 0.5, np.float32)])
        before, rate = p.copy(), lr(2) if callable(lr) else lr
        with opt.lookahead():
            want = before - np.float32(rate * momentum) * opt.state[0]["momentum_buffer"]
            np.testing.assert_array_equal(p, want)
            with pytest.raises(RuntimeError, match=r"step: cannot be called inside lookahead\(\)"):
                opt.step([p])
        assert p.tobytes() == before.tobytes()
        with pytest.raises(ZeroDivisionError), opt.lookahead():
            raise ZeroDivisionError
        assert p.tobytes() == before.tobytes()
        opt.step([p * 0])


@every_class
def test_repr_of_an_optimizer_is_one_line(cls: Any) -> None:
    """Also, `params` and `state` have the keys of the dict of parameters, and `state` refuses assignments."""
    opt = cls({"w": np.ones((100, 20)), "b": np.ones(3)})
    assert repr(opt).startswith(f"{cls.__name__}(2 arrays, 2,003 elements, step 0, lr=")
    assert "\n" not in repr(opt)
    assert list(opt.params) == list(opt.state) == ["w", "b"] and opt.ema is None
    with pytest.raises(TypeError):
        opt.state["w"] = {}


@every_class
def test_each_group_has_its_own_schedule(cls: Any) -> None:
    """An optimizer of three groups gives the same bits as three optimizers, each with the rate of one group."""
    rates = [lambda t: 0.1 / t, lambda t: 0.2 * t, 0.3]
    together, alone = ([np.ones(4) for _ in rates] for _ in range(2))
    opt = cls([{"params": p, "lr": rate} for p, rate in zip(together, rates, strict=True)])
    singles = [cls([p], lr=rate) for p, rate in zip(alone, rates, strict=True)]
    for t in range(1, 4):
        opt.step([np.full(4, 0.5 * t)] * 3)
        for single in singles:
            single.step([np.full(4, 0.5 * t)])
    assert [p.tobytes() for p in together] == [p.tobytes() for p in alone]


@pytest.mark.parametrize("cls", [c for c in CLASSES if hasattr(c, "lookahead")])
def test_lookahead_uses_the_rate_of_each_group(cls: Any) -> None:
    opt = cls([{"params": [np.ones(3)], "lr": 0.1}, {"params": [np.ones(3)], "lr": lambda t: 0.2 * t}])
    opt.step([np.ones(3)] * 2)
    before = [p.copy() for p in opt.params]
    with opt.lookahead():
        for k, rate in enumerate((0.1, 0.4)):  # 0.4 is the rate of the schedule at the next step, which is step 2
            ahead = before[k] - rate * opt.groups[k]["momentum"] * opt.state[k]["momentum_buffer"]
            np.testing.assert_allclose(opt.params[k], ahead, rtol=1e-15)
