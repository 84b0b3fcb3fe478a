"""Additions to torch's loading and saving: own options of groups, and states of another dtype than the parameter's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .._base.rules import RULES
from ._ranks import is_part
from ._widths import CODES, SCALE

Tensor = torch.Tensor


def finish(opt: Any, own: Sequence[dict[str, Any]], state_dict: dict[str, Any]) -> None:
    """Complete torch's loading, and undo its wrong conversions. `own` are the groups before the loading.

    Raises
    ------
    ValueError
        If the groups lack options of the optimizer.
    """
    _keep_options(opt, own, state_dict)
    _check_options(opt)
    _restore_widths(opt, state_dict)
    for _, p in _params_of(opt, state_dict):
        if is_part(p):  # the saved sums may be of other parts
            opt.state.get(p, {}).pop("low_sum", None)


def without_sums_of_parts(opt: Any, saved: dict[str, Any]) -> dict[str, Any]:
    """Return a state dict without the sums over low bits of a rank's parts, which other ranks cannot load."""
    for k, p in _params_of(opt, saved) if opt.master_weights else ():
        if is_part(p) and "low_sum" in saved["state"].get(k, {}):
            saved["state"][k] = {name: value for name, value in saved["state"][k].items() if name != "low_sum"}
    return saved


def forget_sums(opt: Any, state_dict: dict[str, Any]) -> None:
    """Remove sums over low bits that were not saved. The next step makes them, when the model is loaded too."""
    for k, p in _params_of(opt, state_dict):
        entry = state_dict["state"].get(k, {})
        if is_part(p) or ("low" in entry and "low_sum" not in entry):
            opt.state.get(p, {}).pop("low_sum", None)


def _params_of(opt: Any, state_dict: dict[str, Any]) -> list[tuple[Any, Tensor]]:
    """Return the parameters with their keys in a state dict."""
    keys = [k for group in state_dict["param_groups"] for k in group["params"]]
    params = [p for group in opt.param_groups for p in group["params"]]
    return list(zip(keys, params, strict=True))


def _keep_options(opt: Any, own: Sequence[dict[str, Any]], state_dict: dict[str, Any]) -> None:
    """Restore the groups' options that torch does not know, if no other values were saved.

    The dtype of states is always the group's own; states that were saved in another dtype are converted.
    """
    for group, mine, saved in zip(opt.param_groups, own, state_dict["param_groups"], strict=True):
        group.update({name: mine[name] for name in opt.extras if name in mine and name not in saved})
        if "state_dtype" in group:
            group["state_dtype"] = mine.get("state_dtype")


def _check_options(opt: Any) -> None:
    """Refuse the state of another optimizer: it lacks options, and a step would use their defaults."""
    where = f"{type(opt).__name__}.load_state_dict: param_groups"
    for k, group in enumerate(opt.param_groups):
        for name in opt.kernel.checks:
            if name not in group and name not in opt.extras:
                raise ValueError(f"{where}[{k}] must have {name!r}; got {list(group)}")


def _restore_widths(opt: Any, state_dict: dict[str, Any]) -> None:
    """Undo torch's cast of states to the parameter's dtype for states of another dtype.

    Averages of 16-bit parameters are float32; scalars are float32 or float64.
    """
    wide = ["ema", *(name for name, _ in RULES[opt.kernel.rule].scalars)]
    groups = [group for group in opt.param_groups for _ in group["params"]]
    for (k, p), group in zip(_params_of(opt, state_dict), groups, strict=True):
        own = opt.kernel._own_states(tuple(p.shape))
        has_width = group.get("state_dtype") is not None or opt.master_weights
        for name, value in state_dict["state"].get(k, {}).items():
            if not isinstance(value, Tensor) or name == "step":
                continue
            other = has_width and value.dtype != opt.state[p][name].dtype
            if other or name in wide or name in own or name.endswith(SCALE) or value.dtype in CODES:
                opt.state[p][name] = value.detach().clone()
