"""Trials for `accelerate`. A trial compares fusedstep's classes ("ours") with torch's classes ("theirs"), on copies.

The results are compared first. If they agree except for rounding, the times are compared.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module

SECONDS, LEAST = 0.3, 7  # a comparison of times takes at least SECONDS, and uses the times of at least LEAST rounds


class Trial(NamedTuple):
    """The result of a trial: the time with our class, the time with torch's class, and a reason to keep torch's class.

    The times are in seconds. Both are 0 if the two classes compute different gradients or steps. The reason is empty if
    our class should be used.
    """

    ours: float
    theirs: float
    reason: str


def try_layers(model: Module, loss: Callable[[Any], Tensor], swap: Callable[[Module], Any]) -> Trial:
    """Compare two copies of a model: one with torch's layers, and one with our layers.

    The gradients are compared without dropout. The times of a forward and backward pass are measured with dropout.
    """
    theirs, ours = copy.deepcopy(model), copy.deepcopy(model)
    swap(ours)
    if far := _difference(_gradients(ours, loss), _gradients(theirs, loss)):
        return Trial(0.0, 0.0, f"gradients differ by up to {far:.2g} times torch's largest gradient")
    return _timed(lambda: _backward(ours, loss), lambda: _backward(theirs, loss))


def try_optimizer(optimizer: Any, swap: Callable[[Any], Any]) -> Trial:
    """Compare a step of two copies of an optimizer: one with torch's class, and one with our class.

    In the copies, trained parameters without a gradient get random gradients.
    """
    theirs, ours = copy.deepcopy(optimizer), copy.deepcopy(optimizer)
    params, *copies = (_params(o) for o in (optimizer, theirs, ours))
    for p, twins in zip(params, zip(*copies, strict=True), strict=True):
        if p.requires_grad or p.grad is not None:
            grad = p.grad.detach() if p.grad is not None else torch.randn_like(p, requires_grad=False)
            for twin in twins:
                twin.grad = grad.clone()
    swap(ours)
    before = [p.detach().clone() for p in _params(theirs)]
    theirs.step(), ours.step()
    mine, torchs = ([p.detach() - b for p, b in zip(_params(o), before, strict=True)] for o in (ours, theirs))
    rounding = max((4 * torch.finfo(b.dtype).eps * float(b.abs().max()) for b in before if b.numel()), default=0.0)
    if far := _difference(mine, torchs, rounding):
        return Trial(0.0, 0.0, f"steps differ by up to {far:.2g} times the largest change in torch's step")
    return _timed(ours.step, theirs.step)


def _params(optimizer: Any) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _backward(model: Module, loss: Callable[[Any], Tensor]) -> None:
    for p in model.parameters():
        p.grad = None
    loss(model).backward()


def _gradients(model: Module, loss: Callable[[Any], Tensor]) -> list[Tensor]:
    """Return the gradients of the loss for all parameters.

    Dropout is switched off for this computation, because our layer and torch's layer draw different masks.
    """
    dropouts = [m for m in model.modules() if isinstance(m, torch.nn.Dropout)]
    kept = [m.p for m in dropouts]
    for m in dropouts:
        m.p = 0.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _backward(model, loss)
    for m, p in zip(dropouts, kept, strict=True):
        m.p = p
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]


def _difference(ours: Iterable[Tensor], theirs: Iterable[Tensor], rounding: float = 0.0) -> float:
    """Return max|ours - theirs| / max|theirs|, or 0 if rounding errors can explain the difference.

    Rounding errors can explain the difference if ``max|ours - theirs| <= rounding + sqrt(eps) * max|theirs|``. Here,
    `rounding` is an absolute error that the caller allows, and eps is the largest machine epsilon of the dtypes in
    `theirs`.
    """
    far, largest, allowed = 0.0, 0.0, 0.0
    for a, b in zip(ours, theirs, strict=True):
        if a.numel():
            far = max(far, float((a.double() - b.double()).abs().nan_to_num(torch.inf).max()))
            largest = max(largest, float(b.abs().max()))
            allowed = max(allowed, torch.finfo(b.dtype).eps ** 0.5)
    return 0.0 if far <= allowed * largest + rounding else far / max(largest, torch.finfo(torch.float64).tiny)


def _timed(ours: Callable[[], Any], theirs: Callable[[], Any]) -> Trial:
    mine, torchs = medians(ours, theirs)
    return Trial(mine, torchs, "" if mine < torchs else "not faster")


def medians(*functions: Callable[[], Any]) -> list[float]:
    """Return the median time of each function, in seconds.

    Each round calls all functions once. The times of the first round are not used.
    """
    times: list[list[float]] = [[] for _ in functions]
    end = time.perf_counter() + SECONDS
    while len(times[0]) <= LEAST or time.perf_counter() < end:
        for function, found in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            found.append(time.perf_counter() - start)
    return [median(found[1:]) for found in times]
