"""After Ctrl-C at any moment of `load_state_dict`, the optimizer has all of the old state or all of the new state."""

from __future__ import annotations

import copy
import gc
import random
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from support.torch_cases import ours

State = tuple[Any, ...]


class Arrays:
    """An optimizer of NumPy arrays, with schedules that have states. `states` are saved after steps 1 and 2."""

    def __init__(self) -> None:
        rates = [fs.schedules.ReduceOnPlateau(0.1, patience=0) for _ in range(2)]
        params = [np.ones(3, np.float32), np.ones(4, np.float32)]
        groups = [{"params": [p], "lr": rate} for p, rate in zip(params, rates, strict=True)]
        self.opt, self.rates = fs.Adam(groups, ema_decay=0.5), rates
        self.grads = [np.full_like(p, 0.5) for p in params]
        self.states = []
        for k in (1, 2):
            self.opt.groups[0]["weight_decay"] = 0.1 * k
            self.opt.step(self.grads)
            for rate in rates:
                rate.observe(1.0)
            self.states.append(self.opt.state_dict())

    def load(self, k: int) -> None:
        """Load `states[k]`."""
        self.opt.load_state_dict(self.states[k])

    def look(self) -> State:
        """Return all of the state."""
        arrays = [a.tobytes() for entry in self.opt.state.values() for a in entry.values()]
        averages = [a.tobytes() for a in self.opt.ema]  # type: ignore[union-attr]
        counts = (self.opt.steps, tuple(self.opt._plan.tensor_steps), self.opt.groups[0]["weight_decay"])
        return (*arrays, *averages, *counts, *(str(rate.state_dict()) for rate in self.rates))

    def step(self) -> None:
        """Take a step. It must not raise an error."""
        self.opt.step(self.grads)


class Tensors:
    """An optimizer of torch tensors. `states` are saved after steps 1 and 2."""

    def __init__(self) -> None:
        import torch

        self.params = [torch.ones(3, requires_grad=True), torch.ones(4, dtype=torch.bfloat16, requires_grad=True)]
        self.opt = ours("Adam")(self.params, ema_decay=0.5)
        self.states = []
        for k in (1, 2):
            self.opt.param_groups[0]["weight_decay"] = 0.1 * k
            for p in self.params:
                p.grad = torch.ones_like(p)
            self.opt.step()
            self.states.append(copy.deepcopy(self.opt.state_dict()))

    def load(self, k: int) -> None:
        """Load a copy of `states[k]`. It must be a copy, because torch later changes the tensors that it loaded."""
        self.opt.load_state_dict(copy.deepcopy(self.states[k]))

    def look(self) -> State:
        """Return all of the state."""
        entries = [self.opt.state[p] for p in self.params]
        tensors = [str(e[name].tolist()) for e in entries for name in ("step", "exp_avg", "exp_avg_sq", "ema")]
        return (*tensors, self.opt.param_groups[0]["weight_decay"])

    def step(self) -> None:
        """Take a step. It must not raise an error."""
        self.opt.step()


def interrupted_at(line: int, act: Callable[[], None]) -> bool:
    """Call `act`, and raise KeyboardInterrupt in it after `line` executed lines of fusedstep and torch.optim.

    Return True if the interrupt was raised, and False if `act` ended before.
    """
    left = line

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if "fusedstep" not in frame.f_code.co_filename and "torch/optim" not in frame.f_code.co_filename:
            return None
        if frame.f_code.co_name == "_reserved":  # it blocks steps; an interrupt in it could leave them blocked
            return None
        if event == "line":
            left -= 1
            if left == -1:
                raise KeyboardInterrupt
        return trace

    import torch

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
        torch.set_grad_enabled(True)  # the interrupt may have come inside torch.no_grad
    return left < 0


def check(world: Any, interrupt: Callable[[Callable[[], None]], bool]) -> bool:
    """Load the new state over the old state, and interrupt this load. The result must be the old or the new state.

    `world` is an object of `Arrays` or `Tensors`. `interrupt` calls the load and interrupts it. Return True if the
    interrupt came before the end of the load.
    """
    world.load(0)
    old = world.look()
    world.load(1)
    new = world.look()
    assert all(a != b for a, b in zip(old[:2], new[:2], strict=True))
    world.load(0)
    struck = interrupt(lambda: world.load(1))
    found = world.look()
    assert found in (old, new), "the state must be the old or the new state, not a mixture of both"
    world.step()
    return struck


@pytest.mark.thread_unsafe
@pytest.mark.parametrize("kind", [Arrays, Tensors])
def test_ctrl_c_at_any_line_of_load_state_dict_leaves_the_old_or_the_new_state(kind: Any, torch: Any) -> None:
    """Each load is interrupted one line (arrays) or three lines (tensors) later than the load before it."""
    world, line = kind(), 0
    while check(world, lambda act: interrupted_at(line, act)):  # noqa: B023
        line += 1 if kind is Arrays else 3
    assert line > 30


@pytest.mark.thread_unsafe
@pytest.mark.parametrize("kind", [Arrays, Tensors])
def test_ctrl_c_at_random_moments_of_load_state_dict_leaves_the_old_or_the_new_state(kind: Any, torch: Any) -> None:
    """In each of 100 loads, a timer raises KeyboardInterrupt after a random time, if the load has not ended before.

    More than 5 of the loads must be interrupted.
    """
    world, draw = kind(), random.Random(0)
    began = time.perf_counter()
    world.load(0)
    usual = time.perf_counter() - began

    def interrupt(act: Callable[[], None]) -> bool:
        try:
            signal.setitimer(signal.ITIMER_REAL, draw.uniform(1e-6, usual))
            act()
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            return True
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return False

    def strike(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, strike)
    gc.disable()  # Python ignores interrupts inside the callback that JAX adds to the collector
    try:
        struck = sum(check(world, interrupt) for _ in range(100))
    finally:
        gc.enable()
        signal.signal(signal.SIGALRM, before)
        torch.set_grad_enabled(True)  # the interrupt may have come inside torch.no_grad
    assert struck > 5
