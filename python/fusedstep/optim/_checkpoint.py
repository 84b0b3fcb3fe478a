"""An optimizer's state as a dict, and as a safetensors file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from .._base.arrays import axes_of
from .._base.files import read_tensors, replacing
from .._base.rules import RULES
from . import _narrow

_VERSION = 1
_SECTIONS = ("format", "optimizer", "step", "groups", "steps", "state", "ema")


def collect(opt: Any) -> dict[str, Any]:
    """Return a copy of the optimizer's state as a dict."""
    ema = opt._ema
    with opt._reserved("state_dict"):
        return {
            "format": _VERSION,
            "optimizer": type(opt).__name__,
            "step": opt.steps,
            "groups": [_options(g) for g in opt.groups],
            "steps": dict(zip(opt._keys, opt._plan.tensor_steps, strict=True)),
            "state": {key: {n: _copy(a) for n, a in arrays.items()} for key, arrays in opt._state.items()},
            "ema": None if ema is None else {k: a.copy() for k, a in zip(opt._keys, ema, strict=True)},
        }


def _copy(a: Any) -> Any:
    """Return a copy of a state. The copy is in C order, because safetensors misreads other orders.

    Two kinds of states are exceptions, and keep their order in memory. 8-bit states have a scale for each block of
    256 elements in this order. The low bits of bfloat16 parameters (see `_narrow.kept_bits`) have a checksum for each
    such block. `save` stores these states with their axes in memory order.
    """
    return a.copy("K" if a.dtype in (np.uint8, np.int16) else "C")


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    options = {name: value for name, value in group.items() if name not in ("params", "lr")}
    lr = group["lr"]
    if not callable(lr):
        options["lr"] = lr
    elif hasattr(lr, "state_dict"):
        options["lr_state"] = lr.state_dict()
    return options


def restore(opt: Any, saved: Mapping[str, Any]) -> None:
    """Check the saved state completely, then copy it into the optimizer's arrays."""
    with opt._reserved("load_state_dict"):
        _restore(opt, saved, f"{type(opt).__name__}.load_state_dict")


def _restore(opt: Any, saved: Mapping[str, Any], label: str) -> None:
    _check_header(opt, saved, label)
    pairs = _array_pairs(opt, saved, label)
    steps = [_step_count(f"{label}: steps[{k!r}]", saved["steps"][k]) for k in opt._keys]
    step = _step_count(f"{label}: step", saved["step"])
    options = [_checked_options(opt, k, dict(o), label) for k, o in enumerate(saved["groups"])]
    copies = [(target, _copy_like(target, source)) for target, source in pairs]
    groups = [opt._options({**group, **values}) for group, (values, _) in zip(opt._groups, options, strict=True)]
    updates = [(group._values, values) for group, (values, _) in zip(opt._groups, options, strict=True)]
    restored: dict[str, Any] = {}
    with _restored_schedules(opt, [lr_state for _, lr_state in options], restored):
        opt._plan.restore(step, steps, copies, groups, [*updates, (restored, {"all": True})])


def _copy_like(target: Any, source: Any) -> Any:
    """Return a copy of the source in the target's memory order. A later write into another target cannot change it."""
    copy = np.empty_like(target)
    copy[...] = source
    return copy


@contextmanager
def _restored_schedules(opt: Any, states: list[Any], restored: dict[str, Any]) -> Iterator[None]:
    """Load the states of learning rate schedules, then run the ``with`` block, which loads the optimizer's other state.

    After the block has loaded that state, it puts an item into the dict `restored`. If an exception is raised while
    `restored` is empty, the schedules get their old states back. With a later exception, they keep their new states.
    """
    import copy

    done = []
    try:
        for group, state in zip(opt._groups, states, strict=True):
            if state is not None:
                done.append((group["lr"], copy.deepcopy(group["lr"].state_dict())))
                group["lr"].load_state_dict(state)
        yield
    except BaseException:
        for schedule, before in () if restored else done:
            schedule.load_state_dict(before)
        raise


def _check_header(opt: Any, saved: Mapping[str, Any], label: str) -> None:
    if not isinstance(saved, Mapping):
        raise TypeError(f"{label}: state must be a dict; got {type(saved).__name__}")
    missing = [s for s in _SECTIONS if s not in saved]
    if missing:
        raise ValueError(f"{label}: state must have the keys {list(_SECTIONS)}; got a dict without {missing}")
    if saved["format"] != _VERSION:
        raise ValueError(f"{label}: format must be {_VERSION}; got {saved['format']!r}")
    if saved["optimizer"] != type(opt).__name__:
        raise ValueError(f"{label}: optimizer must be {type(opt).__name__!r}; got {saved['optimizer']!r}")
    if not isinstance(saved["groups"], (list, tuple)) or len(saved["groups"]) != len(opt._groups):
        raise ValueError(f"{label}: groups must be a list of {len(opt._groups)} groups; got {saved['groups']!r}")
    for k, options in enumerate(saved["groups"]):
        if not isinstance(options, Mapping):
            raise TypeError(f"{label}: groups[{k}] must be a dict; got {options!r}")
    for section in ("state", "steps"):
        _same_keys(f"{label}: {section}", opt._state, saved[section])


def _same_keys(what: str, need: Mapping[Any, Any], got: Any) -> None:
    if not isinstance(got, Mapping):
        raise ValueError(f"{what} must be a dict with the keys {sorted(map(str, need))}; got {got!r}")
    if got.keys() != need.keys():
        raise ValueError(f"{what} must have the keys {sorted(map(str, need))}; got {sorted(map(str, got))}")


def _array_pairs(opt: Any, saved: Mapping[str, Any], label: str) -> list[tuple[Any, Any]]:
    pairs = []
    rule = RULES[opt.rule]
    for (key, arrays), p in zip(opt._state.items(), opt._arrays, strict=True):
        entry = saved["state"][key]
        entry = _narrow.taken_over(entry, arrays, p, rule) if isinstance(entry, Mapping) else entry
        _same_keys(f"{label}: state[{key!r}]", arrays, entry)
        for name, target in arrays.items():
            pairs.append((f"state[{key!r}][{name!r}]", target, entry[name]))
    if (opt._ema is None) != (saved["ema"] is None):
        if opt._ema is None:
            raise ValueError(f"{label}: ema must be None, because this optimizer has no ema_decay; got averages")
        raise ValueError(f"{label}: ema must be averages, because this optimizer has ema_decay; got None")
    if opt._ema is not None:
        averages = dict(zip(opt._keys, opt._ema, strict=True))
        _same_keys(f"{label}: ema", averages, saved["ema"])
        pairs += [(f"ema[{key!r}]", target, saved["ema"][key]) for key, target in averages.items()]
    for what, target, source in pairs:
        _check_array(f"{label}: {what}", target, source)
    return [(target, source) for _, target, source in pairs]


def _check_array(what: str, target: Any, source: Any) -> None:
    if not isinstance(source, np.ndarray) or isinstance(source, np.ma.MaskedArray):
        raise TypeError(f"{what} must be an array; got {type(source).__name__}")
    if source.shape != target.shape or source.dtype != target.dtype:
        order = "" if source.dtype.isnative else " in native byte order"
        raise ValueError(f"{what} must be {target.dtype} {target.shape}{order}; got {source.dtype} {source.shape}")


def _step_count(what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 2**63 - 1:
        raise ValueError(f"{what} must be a whole number of at least 0; got {value!r}")
    return int(value)


def _checked_options(opt: Any, k: int, values: dict[str, Any], label: str) -> tuple[dict[str, Any], Any]:
    group = opt._groups[k]
    lr_state = values.pop("lr_state", None)
    if lr_state is not None and not (hasattr(group["lr"], "state_dict") and hasattr(group["lr"], "load_state_dict")):
        raise ValueError(
            f"{label}: groups[{k}] must not have lr_state, because the lr of this optimizer's group {k} is not a "
            f"schedule with the methods state_dict and load_state_dict; got lr_state={lr_state!r}"
        )
    if callable(group["lr"]):
        values.pop("lr", None)  # the optimizer keeps its schedule
    for name, value in values.items():
        if name not in group or name == "params":
            raise ValueError(f"{label}: groups[{k}] must have only options of {type(opt).__name__}; got {name!r}")
        values[name] = opt._all_checks()[name](f"{label}: groups[{k}][{name!r}]", value)
    values["state_dtype"] = group["state_dtype"]  # the loaded states are converted to this dtype
    values.setdefault("rounding", group["rounding"])  # files of older versions do not contain it
    opt._require_width(f"{label}: groups[{k}]: ", {**group, **values})
    missing = [name for name in group if name not in (*values, "params", "lr")]  # a schedule's lr is not saved
    if missing:
        raise ValueError(f"{label}: groups[{k}] must have all options; missing {', '.join(missing)}")
    if names := opt._switched(opt._variant({**group, **values}), opt._variant(group)):
        raise ValueError(
            f"{label}: groups[{k}]: {', '.join(names)} must be on in both the loaded state and this optimizer, "
            f"or off in both; got { {name: values.get(name) for name in names} } in the loaded state and "
            f"{ {name: group.get(name) for name in names} } in this optimizer"
        )
    return values, lr_state


def write(opt: Any, path: str | os.PathLike[str]) -> None:
    """Save the optimizer's state to a temporary file in the folder of `path`. Then rename this file to `path`."""
    safetensors = _safetensors(f"{type(opt).__name__}.save")
    from safetensors import SafetensorError

    saved = collect(opt)
    if len({str(key) for key in opt._keys}) < len(opt._keys):
        names = [key for key in opt._keys if isinstance(key, str) and key.isdigit()]
        raise ValueError(
            f"{type(opt).__name__}.save: a name of a parameter must not be the position of a parameter without a name; "
            f"got the names {names}"
        )
    tensors = {f"state.{name}.{key}": a for key, arrays in saved.pop("state").items() for name, a in arrays.items()}
    # safetensors misreads arrays that are not in C order. So such an array is saved with its axes in memory order.
    saved["axes"] = {n: axes_of(a) for n, a in tensors.items() if not a.flags.c_contiguous}
    for name, axes in saved["axes"].items():
        tensors[name] = np.ascontiguousarray(tensors[name].transpose(axes))
    ema = saved.pop("ema")
    saved["ema"] = ema is not None
    tensors |= {f"ema.{key}": a for key, a in (ema or {}).items()}
    import json  # imported here, because only saving and loading need it

    # The metadata have only one entry, because safetensors does not keep the order of several entries.
    metadata = {"fusedstep": json.dumps(saved, sort_keys=True)}
    with replacing(path) as temporary:
        try:
            safetensors.save_file(tensors, temporary, metadata)
        except SafetensorError as error:  # raised for errors of the system, such as a full disk
            raise OSError(f"{type(opt).__name__}.save: {error}") from None


def read(opt: Any, path: str | os.PathLike[str]) -> None:
    """Load a file that `write` saved."""
    label = f"{type(opt).__name__}.load"
    _safetensors(label)
    import json

    name, text, tensors = read_tensors(label, path)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{label}: path must be a file that {type(opt).__name__}.save() wrote; got {name!r} ({error})"
        ) from None
    restore(opt, _unflatten(opt, header, tensors, label))


def _unflatten(opt: Any, header: Any, tensors: dict[str, Any], label: str) -> dict[str, Any]:
    if not isinstance(header, dict) or not isinstance(header.get("steps"), dict):
        raise ValueError(
            f"{label}: path must be a file that {type(opt).__name__}.save() wrote; got a file whose header has no step "
            "counts of parameters"
        )
    saved = dict(header)
    by_text = {str(key): key for key in opt._keys}
    saved["steps"] = {by_text.get(k, k): v for k, v in header["steps"].items()}
    saved["state"] = {key: {} for key in saved["steps"]}
    saved["ema"] = {} if header.get("ema") else None
    axes = header.get("axes", {})
    for name, stored in tensors.items():
        array = _laid(f"{label}: axes of {name!r}", stored, axes.get(name)) if isinstance(axes, dict) else stored
        section, _, rest = name.partition(".")
        state, _, key = rest.partition(".")
        if section == "state" and by_text.get(key, key) in saved["state"]:
            saved["state"][by_text.get(key, key)][state] = array
        elif section == "ema" and saved["ema"] is not None:
            saved["ema"][by_text.get(rest, rest)] = array
        else:
            raise ValueError(
                f"{label}: every tensor in the file must belong to a parameter of this optimizer; got {name!r}"
            )
    return saved


def _laid(what: str, stored: Any, axes: Any) -> Any:
    """Return a stored array with its axes in the order that they had before saving.

    `axes` is a list. For each stored axis, it contains the position that the axis had before saving. If saving did not
    change the order, `axes` is None.
    """
    if axes is None:
        return stored
    if not isinstance(axes, list) or sorted(map(repr, axes)) != sorted(map(repr, range(stored.ndim))):
        raise ValueError(f"{what} must be a permutation of its {stored.ndim} axes; got {axes!r}")
    return stored.transpose(np.argsort(axes))


def _safetensors(label: str) -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError(f"{label} needs the package safetensors: pip install 'fusedstep[checkpoint]'") from None
    return safetensors.numpy
