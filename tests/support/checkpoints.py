"""Functions that make and step small optimizers, whose states were saved with version 0.1.0, and hash their states."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

import fusedstep as fs

SIZES = ((3, 4), (5,), ())
_OF_CLASS: dict[str, dict[str, Any]] = {
    "Adadelta": {"Adadelta": {}},
    "Adagrad": {"Adagrad": {}, "Adagrad-start": {"initial_accumulator_value": 0.5, "lr_decay": 0.1}},
    "Adam": {"Adam": {}, "Adam-amsgrad": {"amsgrad": True, "weight_decay": 0.1}},
    "AdamW": {"AdamW": {}, "AdamW-amsgrad": {"amsgrad": True}},
    "Lion": {"Lion": {"weight_decay": 0.1}},
    "NAG": {"NAG": {}},
    "RMSprop": {"RMSprop": {}, "RMSprop-all": {"centered": True, "momentum": 0.9}},
    "SGD": {"SGD": {}, "SGD-momentum": {"momentum": 0.9}, "SGD-nesterov": {"momentum": 0.9, "nesterov": True}},
}
#: The name of a case -> the name of the optimizer's class, and its options.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    case: (name, options) for name, cases in _OF_CLASS.items() for case, options in cases.items()
}
_AROUND = {
    "Adam-average": ("Adam", {"ema_decay": 0.9}),
    "SGD-average": ("SGD", {"ema_decay": 0.5, "momentum": 0.9, "l1": 0.01, "decay": "proximal"}),
}
# "dtype" and "names" are not options of the class, and "plateau" is not a learning rate: `array_optimizer` and
# `tensor_optimizer` replace them.
ARRAY_CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **CASES,
    **_AROUND,
    "SGD-plateau": ("SGD", {"lr": "plateau"}),
    "Adam-named": ("Adam", {"names": True, "dtype": "float64"}),
}
TENSOR_CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **CASES,
    **_AROUND,
    **{f"{case}-bfloat16": (name, {**options, "dtype": "bfloat16"}) for case, (name, options) in CASES.items()},
    "Adam-average-bfloat16": ("Adam", {"ema_decay": 0.9, "dtype": "bfloat16"}),
}


def numbers(seed: int, dtype: str = "float32") -> list[Any]:
    """Return a random array of each shape in `SIZES`."""
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(size), dtype) for size in SIZES]


def array_optimizer(case: str, params: list[Any] | None = None) -> Any:
    """Return the optimizer of a case, with new parameters or with the given ones."""
    name, options = ARRAY_CASES[case]
    options = {"lr": 0.1, **options}
    dtype = options.pop("dtype", "float32")
    given: Any = numbers(0, dtype) if params is None else params
    if options.pop("names", False):
        given = dict(zip(["w", "b", "é.x"], given, strict=True))
    if options["lr"] == "plateau":
        options["lr"] = fs.schedules.ReduceOnPlateau(0.1, patience=1)
    return fs.optim.registry[name](given, **options)


def arrays_of(opt: Any) -> list[Any]:
    """Return the list of an optimizer's parameters."""
    return list(opt.params.values()) if hasattr(opt.params, "values") else list(opt.params)


def steps_of_arrays(opt: Any, first: int) -> None:
    """Take three steps. The number of a step, which starts at `first`, selects the step's gradients.

    A schedule that observes losses gets the same loss after each step.
    """
    keys = list(opt.params) if hasattr(opt.params, "values") else None
    for t in range(first, first + 3):
        grads = numbers(100 + t, str(arrays_of(opt)[0].dtype))
        opt.step(grads if keys is None else dict(zip(keys, grads, strict=True)), clip_norm=2.0)
        rate = opt.groups[0]["lr"]
        if hasattr(rate, "observe"):
            rate.observe(1.0)


def tensor_optimizer(case: str, params: list[Any] | None = None) -> tuple[list[Any], Any]:
    """Return the parameters and the torch optimizer of a case, with new parameters or with copies of the given ones."""
    import torch

    import fusedstep.torch

    name, options = TENSOR_CASES[case]
    options = {"lr": 0.1, **options}
    dtype = getattr(torch, options.pop("dtype", "float32"))
    values = [torch.from_numpy(a).to(dtype) for a in numbers(0)] if params is None else params
    tensors = [v.clone().requires_grad_() for v in values]
    return tensors, getattr(fusedstep.torch, name)(tensors, **options)


def steps_of_tensors(params: list[Any], opt: Any, first: int) -> None:
    """Take three steps of a torch optimizer. The number of a step, which starts at `first`, selects its gradients."""
    import torch

    for t in range(first, first + 3):
        for p, g in zip(params, numbers(100 + t), strict=True):
            p.grad = torch.from_numpy(g).to(p.dtype)
        opt.step()


def _hash(array: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def bits_of_arrays(opt: Any) -> list[str]:
    """Return hashes of parameters, averages and states."""
    averages = [] if opt.ema is None else list(opt.ema)
    states = [a for _, entry in sorted(opt.state.items(), key=str) for _, a in sorted(entry.items())]
    return [_hash(a) for a in (*arrays_of(opt), *averages, *states)]


def bits_of_tensors(params: list[Any], opt: Any) -> list[str]:
    """Return hashes of parameters and of all tensors of the state."""
    import torch

    states = [opt.state[p][name] for p in params for name in sorted(opt.state[p])]
    return [_hash(t.detach().reshape(-1).view(torch.uint8).numpy()) for t in (*params, *states) if t is not None]
