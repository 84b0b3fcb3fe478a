"""One thread steps an optimizer, while other threads change its arrays or tensors.

The program fails if it crashes, or if a step or a change raises an error that is not expected.

Usage: python tests/stress_snapshot.py [seconds] [numpy|torch|assigned]

`numpy` steps an optimizer on arrays, and `torch` an optimizer on tensors. With `assigned`, other threads also assign to
`grad` and `data` of the tensors. If none is given, `numpy` and `torch` run. Each runs for the given time.

If the package is built with sanitizers, the program finds more faults. `.ci/check_sanitizers.sh` shows how to build it.
"""

from __future__ import annotations

import copy
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fusedstep as fs

Act = Callable[[random.Random], object]
REFUSALS = (ValueError, TypeError, RuntimeError)  # errors of a refused step


def arrays() -> tuple[Callable[[], object], list[Act]]:
    """Return a function that steps an optimizer on arrays, and functions that change the optimizer and its arrays."""
    params = [np.ones(n, np.float32) for n in (7, 300, 40_000)]
    grads: list[Any] = [np.full_like(p, 1e-3) for p in params]
    opt = fs.Adam(params, lr=1e-3, ema_decay=0.9)
    saved = opt.state_dict()

    def swaps(draw: random.Random) -> None:
        with opt.averaged():
            pass

    def other_gradient(draw: random.Random) -> None:
        k = draw.randrange(3)
        kinds: list[Callable[[], Any]] = [
            *[lambda: np.full_like(params[k], 1e-3)] * 10,
            lambda: None,
            lambda: np.ones(2, np.float32),
            lambda: np.ones(2 * params[k].size, np.float32)[::2],
            lambda: np.float64(3),
            lambda: params[k],
        ]
        grads[k] = draw.choice(kinds)()

    acts: list[Act] = [
        swaps,
        other_gradient,
        other_gradient,
        lambda draw: opt.groups[0].__setitem__("weight_decay", draw.random()),
        lambda draw: opt.load_state_dict(saved),
        lambda draw: opt.state_dict(),
        lambda draw: [params[0].setflags(write=write) for write in (False, True)],
        lambda draw: opt.state,
        lambda draw: opt.ema,
        lambda draw: grads[0] is not None and grads[0].setflags(write=draw.random() < 0.5),
    ]
    return lambda: opt.step(grads, zero_grads=True, clip_norm=1.0), acts


def assigned() -> tuple[Callable[[], object], list[Act]]:
    """Return the functions of `tensors`, and functions that assign to `grad` and `data`.

    During such an assignment, torch itself frees memory that a step in another thread may be using.
    """
    return tensors(True)


class Tensors:
    """An optimizer on tensors, with methods that randomly change its tensors, groups and states."""

    def __init__(self) -> None:
        import torch

        import fusedstep.torch

        self.torch = torch
        self.params = [torch.nn.Parameter(torch.ones(n)) for n in (7, 300, 40_000)]
        self.opt = fusedstep.torch.Adam(self.params, lr=1e-3, ema_decay=0.9)
        for p in self.params:
            p.grad = torch.full_like(p, 1e-3)
        self.opt.step()
        self.saved = copy.deepcopy(self.opt.state_dict())

    def gradient(self, draw: random.Random) -> None:
        """Assign None or another tensor to the `grad` of a parameter."""
        torch, p = self.torch, draw.choice(self.params)
        p.grad = draw.choice(
            [None, torch.ones_like(p), torch.ones(1).expand_as(p), torch._neg_view(torch.ones_like(p))]
        )

    def data(self, draw: random.Random) -> None:
        """Assign another tensor to the `data` of a parameter."""
        p = draw.choice(self.params)
        p.data = draw.choice([self.torch.ones_like(p), self.torch.ones(2 * p.numel())[::2]])

    def state(self, draw: random.Random) -> None:
        """Clear the state of a parameter, or remove or replace one of its tensors."""
        entry = self.opt.state[draw.choice(self.params)]
        name, size = draw.choice(["exp_avg", "exp_avg_sq", "ema", "step"]), draw.choice([1, 7, 300, 40_000])
        action = draw.random()
        if action < 0.2:
            entry.clear()
        elif action < 0.4:
            entry.pop(name, None)
        else:
            entry[name] = self.torch.ones(size)

    def group(self, draw: random.Random) -> None:
        """Add a group. If there are more than three groups, first remove all groups except the first."""
        if len(self.opt.param_groups) > 3:
            del self.opt.param_groups[1:]
        q = self.torch.nn.Parameter(self.torch.ones(5))
        q.grad = self.torch.ones(5)
        self.opt.add_param_group({"params": [q]})

    def hook(self, draw: random.Random) -> None:
        """Add a hook and remove it."""
        self.opt.register_step_pre_hook(lambda *a: None).remove()

    def swap(self, draw: random.Random) -> None:
        """Exchange the parameters with their averages, and undo the exchange."""
        with self.opt.averaged():
            pass


def tensors(assign: bool = False) -> tuple[Callable[[], object], list[Act]]:
    """Return a function that steps an optimizer on tensors, and functions that change the optimizer.

    If `assign` is true, some of the functions assign to `grad` and `data` of the parameters.
    """
    t = Tensors()
    opt = t.opt
    acts: list[Act] = [
        *([t.gradient, t.data] if assign else []),
        t.state,
        t.group,
        t.hook,
        t.swap,
        lambda draw: opt.param_groups[0].update(lr=draw.choice([1e-3, t.torch.tensor(1e-3), "x"])),
        lambda draw: opt.param_groups[0].update(betas=(draw.random(), 0.99)),
        lambda draw: opt.param_groups[0].pop(draw.choice(["betas", "eps", "amsgrad"]), None),
        lambda draw: opt.load_state_dict(copy.deepcopy(t.saved)),
        lambda draw: opt.state_dict(),
        lambda draw: opt.zero_grad(set_to_none=assign and draw.random() < 0.5),
        lambda draw: opt.state.clear(),
    ]
    return opt.step, acts


def stress(
    make: Callable[[], tuple[Callable[[], object], list[Act]]], seconds: float, seed: int = 0
) -> tuple[int, int]:
    """Step an optimizer for some seconds, while three other threads change it.

    `make` returns the function that steps, and the functions that change the optimizer. Return the numbers of steps
    that were taken and of steps that raised one of `REFUSALS`.
    """
    step, acts = make()
    end = threading.Event()
    unexpected: list[BaseException] = []

    def change(seed: int) -> None:
        draw = random.Random(seed)
        while not end.is_set():
            try:
                draw.choice(acts)(draw)
            except (*REFUSALS, LookupError, AttributeError):  # expected, because several threads change one object
                pass
            except BaseException as error:
                unexpected.append(error)
                return

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    others = [threading.Thread(target=change, args=(seed + k,)) for k in range(3)]
    for other in others:
        other.start()
    taken = refused = 0
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until and not unexpected:
            try:
                step()
                taken += 1
            except REFUSALS:
                refused += 1
    finally:
        end.set()
        for other in others:
            other.join()
        sys.setswitchinterval(before)
    if unexpected:
        raise unexpected[0]
    return taken, refused


if __name__ == "__main__":
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    kinds = {"numpy": arrays, "torch": tensors, "assigned": assigned}
    for name, make in kinds.items():
        if name in sys.argv[2:] or (len(sys.argv) < 3 and make is not assigned):
            print(name, "steps taken, steps refused:", *stress(make, seconds), flush=True)
