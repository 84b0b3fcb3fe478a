"""States of torch's optimizers that are narrower than float32, and what 16-bit parameters keep beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .._base import formats
from .._base.rules import Rule

Tensor = torch.Tensor
Entry = dict[str, Any]

SCALE = "_scale"
HALVES = (torch.bfloat16, torch.float16)
#: Dtypes of states of which each can be made of any other.
WIDTHS = (torch.float32, torch.bfloat16, torch.float16, torch.uint8)
#: Dtypes that torch's own loading would turn into the parameter's.
CODES = (torch.uint8, torch.int16, torch.int32)


def dtype_of_states(p: Tensor, state_dtype: str, master_weights: bool) -> torch.dtype:
    """Return the dtype in which the states of a parameter are kept."""
    if state_dtype:
        return getattr(torch, state_dtype)
    return torch.float32 if master_weights and p.dtype in HALVES else p.dtype


def make(entry: Entry, name: str, p: Tensor, dtype: torch.dtype, start: float, rule: Rule) -> None:
    """Make a state that begins with a number."""
    entry[name] = torch.full_like(p, 0 if dtype == torch.uint8 else start, dtype=dtype, requires_grad=False)
    if dtype == torch.uint8:
        entry[name + SCALE] = torch.zeros(formats.block_count(p.numel()))
        if start:
            encode(entry, name, torch.full_like(p, start, dtype=torch.float32, requires_grad=False), rule)


def convert(where: str, entry: Entry, name: str, p: Tensor, dtype: torch.dtype, rule: Rule) -> None:
    """Bring a state into another width, or its codes into another layout; one that is none is left as it is.

    Raises
    ------
    ValueError
        If a state of 8 bits lacks its scales.
    """
    state = entry[name]
    if not isinstance(state, Tensor) or state.dtype not in WIDTHS or state.shape != p.shape or p.dtype == torch.float64:
        return
    if state.dtype == torch.uint8:
        _check_scales(where, entry, name, p)
    same_layout = state.stride() == torch.empty_like(p, device="meta").stride()
    if state.dtype == dtype and (dtype != torch.uint8 or same_layout):
        return
    numbers = torch.empty_like(p, dtype=torch.float32, requires_grad=False).copy_(decode(entry, name, rule))
    if dtype == torch.uint8:
        entry[name] = torch.zeros_like(p, dtype=torch.uint8, requires_grad=False)
        entry[name + SCALE] = torch.zeros(formats.block_count(p.numel()))
        encode(entry, name, numbers, rule)
    else:
        entry.pop(name + SCALE, None)
        entry[name] = numbers.to(dtype)


def _check_scales(where: str, entry: Entry, name: str, p: Tensor) -> None:
    scales, count = entry.get(name + SCALE), formats.block_count(p.numel())
    if not isinstance(scales, Tensor) or scales.dtype != torch.float32 or tuple(scales.shape) != (count,):
        got = f"{scales.dtype} {tuple(scales.shape)}" if isinstance(scales, Tensor) else repr(scales)
        raise ValueError(f"{where}[{name + SCALE!r}] must be torch.float32 ({count},), beside 8 bits; got {got}")
    entry[name + SCALE] = scales.detach().contiguous()


def decode(entry: Entry, name: str, rule: Rule) -> Tensor:
    """Return a state as float32 numbers."""
    state: Tensor = entry[name]
    if state.dtype != torch.uint8:
        return state.detach().to(torch.float32)
    flat = formats.decode_u8(_flat(state).numpy(), entry[name + SCALE].numpy(), rule.is_positive(name))
    return _shaped(torch.from_numpy(flat), state)


def encode(entry: Entry, name: str, numbers: Tensor, rule: Rule) -> None:
    """Write float32 numbers, which lie as the state does, into a state of 8 bits."""
    codes, scales = formats.encode_u8(_flat(numbers).numpy(), rule.is_positive(name))
    entry[name].copy_(_shaped(torch.from_numpy(codes), entry[name]))
    entry[name + SCALE].copy_(torch.from_numpy(scales))


def keep_bits(where: str, entry: Entry, p: Tensor) -> None:
    """Make what a 16-bit parameter keeps of float32, or check it.

    Raises
    ------
    ValueError
        If it is not of the parameter's shape and of the right dtype.
    """
    name, dtype = ("low", torch.int16) if p.dtype == torch.bfloat16 else ("master", torch.float32)
    like = torch.empty_like(p, dtype=dtype, device="meta")
    kept, count = entry.get(name), formats.block_count(p.numel())
    if kept is None:
        made = torch.empty_like(p, dtype=dtype, requires_grad=False)
        entry[name] = made.copy_(p.detach()) if name == "master" else made.zero_()
        entry |= {"low_sum": torch.zeros(count, dtype=torch.int32)} if name == "low" else {}
        return
    if not isinstance(kept, Tensor) or kept.dtype != dtype or kept.shape != p.shape:
        raise ValueError(f"{where}[{name!r}] must be {dtype} {tuple(p.shape)}; got {_named(kept)}")
    moved = kept.stride() != like.stride() or kept.device != p.device
    if moved:
        entry[name] = torch.empty_like(p, dtype=dtype, requires_grad=False).copy_(kept.detach())
    if name == "master":
        return
    sums = entry.get("low_sum")
    if not isinstance(sums, Tensor) or sums.dtype != torch.int32 or tuple(sums.shape) != (count,):
        raise ValueError(f"{where}['low_sum'] must be torch.int32 ({count},); got {_named(sums)}")
    if moved:  # the blocks are others now: the parameter is taken to be the one that the bits belong to
        entry["low_sum"] = torch.from_numpy(formats.low_sums(_flat(p.detach()).view(torch.int16).numpy()))
    elif not sums.is_contiguous():
        entry["low_sum"] = sums.contiguous()


def _named(value: Any) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)


def _axes(t: Tensor) -> list[int]:
    """Return the axes from the widest stride to the narrowest."""
    return sorted(range(t.dim()), key=lambda d: (t.shape[d] == 1, -t.stride()[d], d))


def _flat(t: Tensor) -> Tensor:
    """Return the elements in the order of memory."""
    return t.permute(_axes(t)).reshape(-1)


def _shaped(flat: Tensor, like: Tensor) -> Tensor:
    axes = _axes(like)
    return flat.reshape([like.shape[d] for d in axes]).permute([int(d) for d in np.argsort(axes)])
