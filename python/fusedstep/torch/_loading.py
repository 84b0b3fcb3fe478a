"""Additions to torch's `state_dict` and `load_state_dict`.

They are for options that torch's parameter groups do not have, and for states whose dtype is not the parameter's dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .._base.rules import RULES
from ._ranks import is_part
from ._widths import CODES, SCALE

Tensor = torch.Tensor


def finish(opt: Any, own: Sequence[dict[str, Any]], state_dict: dict[str, Any]) -> None:
    """Restore options and dtypes of states after torch's `load_state_dict`, and check the options.

    torch's method converts all loaded states to the parameter's dtype, but some states need another dtype. `own` are
    the optimizer's groups before the load.

    Raises
    ------
    ValueError
        If a loaded group lacks an option of the optimizer.
    """
    _keep_options(opt, own, state_dict)
    _check_options(opt)
    _restore_widths(opt, state_dict)
    for _, p in _params_of(opt, state_dict):
        if is_part(p):  # the saved checksums may be for another part of the parameter
            opt.state.get(p, {}).pop("low_sum", None)


def without_sums_of_parts(opt: Any, saved: dict[str, Any]) -> dict[str, Any]:
    """Remove the checksums "low_sum" of all parameters that are divided among ranks. Return the state dict.

    Each rank computes these checksums from its own part of a parameter. So other ranks cannot use them.
    """
    for k, p in _params_of(opt, saved) if opt.master_weights else ():
        if is_part(p) and "low_sum" in saved["state"].get(k, {}):
            saved["state"][k] = {name: value for name, value in saved["state"][k].items() if name != "low_sum"}
    return saved


def forget_sums(opt: Any, state_dict: dict[str, Any]) -> None:
    """Remove the checksums "low_sum" that `load_state_dict` computed from the current parameters.

    Checksums that were loaded from `state_dict` stay. The computed ones are removed because the user may load other
    parameters before the next step. That step computes the checksums again.
    """
    for k, p in _params_of(opt, state_dict):
        entry = state_dict["state"].get(k, {})
        if is_part(p) or ("low" in entry and "low_sum" not in entry):
            opt.state.get(p, {}).pop("low_sum", None)


def _params_of(opt: Any, state_dict: dict[str, Any]) -> list[tuple[Any, Tensor]]:
    """Return a list of (key in the state dict, parameter)."""
    keys = [k for group in state_dict["param_groups"] for k in group["params"]]
    params = [p for group in opt.param_groups for p in group["params"]]
    return list(zip(keys, params, strict=True))


def _keep_options(opt: Any, own: Sequence[dict[str, Any]], state_dict: dict[str, Any]) -> None:
    """Restore options that the state dict does not contain. They get their values from before the load.

    Only options in ``opt.extras`` are restored. Parameter groups of torch's optimizers do not have these options.

    The option ``state_dtype`` always gets its value from before the load. States that were saved in another dtype are
    converted.
    """
    for group, mine, saved in zip(opt.param_groups, own, state_dict["param_groups"], strict=True):
        group.update({name: mine[name] for name in opt.extras if name in mine and name not in saved})
        if "state_dtype" in group:
            group["state_dtype"] = mine.get("state_dtype")


def _check_options(opt: Any) -> None:
    """Raise an error if a loaded group lacks an option. Without this check, a step would silently use a default.

    For example, options are missing if the state dict was saved by an optimizer of another class.
    """
    where = f"{type(opt).__name__}.load_state_dict: param_groups"
    for k, group in enumerate(opt.param_groups):
        for name in opt.kernel.checks:
            if name not in group and name not in opt.extras:
                raise ValueError(f"{where}[{k}] must have {name!r}; got {list(group)}")


def _restore_widths(opt: Any, state_dict: dict[str, Any]) -> None:
    """Restore the saved dtype of states that were saved in a dtype other than the parameter's dtype.

    torch converts all loaded states to the parameter's dtype. But some states need another dtype. For example, the
    moving average ``"ema"`` of a 16-bit parameter is float32, and scalar states are float32 or float64.
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
