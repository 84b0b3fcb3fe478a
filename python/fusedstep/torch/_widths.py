"""Narrow formats in the states of the optimizers of fusedstep.torch.

States can have 16 or 8 bits. With ``master_weights=True``, the optimizer also keeps a float32 weight for each 16-bit
parameter. If the parameter is bfloat16, the parameter is the weight's upper 16 bits (rounded), and a state has the
lower 16 bits, which are called the low bits. If the parameter is float16, a state has the whole weight.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from .._base import arrays, formats
from .._base.rules import Rule
from ._blocks import zeros_of_blocks
from ._ranks import is_shard, local_of, placed_alike, placement_of

Tensor = torch.Tensor
Entry = dict[str, Any]

SCALE = "_scale"
HALVES = (torch.bfloat16, torch.float16)
#: Dtypes of states. A state can be converted from each of them to any other.
WIDTHS = (torch.float32, torch.bfloat16, torch.float16, torch.uint8)
#: Dtypes of 8-bit states, of low bits, and of the checksums of parameters (see `keep_bits`). torch's `load_state_dict`
#: would convert tensors with these dtypes to the parameter's dtype.
CODES = (torch.uint8, torch.int16, torch.int32)


class Where(NamedTuple):
    """The beginning of error messages about the state of a parameter."""

    label: str
    param: str

    def __str__(self) -> str:
        return f"{self.label}: state of {self.param}"

    def state(self, name: str) -> str:
        return f"{self.label}: state {name!r} of {self.param}"


def dtype_of_states(p: Tensor, state_dtype: str, master_weights: bool) -> torch.dtype:
    """Return the dtype of the states of a parameter."""
    if state_dtype:
        return getattr(torch, state_dtype)
    return torch.float32 if master_weights and p.dtype in HALVES else p.dtype


def make(entry: Entry, name: str, p: Tensor, dtype: torch.dtype, start: float, rule: Rule) -> None:
    """Create a state. All its elements have the value `start`."""
    entry[name] = torch.full_like(p, 0 if dtype == torch.uint8 else start, dtype=dtype, requires_grad=False)
    if dtype == torch.uint8:
        entry[name + SCALE] = zeros_of_blocks(p, torch.float32)
        if start:
            numbers = torch.full_like(local_of(p), start, dtype=torch.float32, requires_grad=False)
            encode(entry, name, numbers, rule)


def convert(where: Where, entry: Entry, name: str, p: Tensor, dtype: torch.dtype, rule: Rule) -> None:
    """Convert the state `name` of the parameter `p` to `dtype`.

    If `dtype` is uint8, the state also gets the memory layout of the parameter. If the state is not a suitable tensor,
    it is not changed, and a later check raises an error.

    Raises
    ------
    ValueError
        If an 8-bit state does not have valid scales.
    """
    state = entry[name]
    if not isinstance(state, Tensor) or state.dtype not in WIDTHS or p.dtype == torch.float64:
        return
    if state.shape != p.shape or not placed_alike(state, p) or not has_memory(state):
        return
    if state.dtype == torch.uint8:
        _check_scales(where, entry, name, p)
    own = local_of(p).detach()
    if state.dtype == dtype and (dtype != torch.uint8 or _lies_like(local_of(state), own)):
        return
    numbers = torch.empty_like(own, dtype=torch.float32, requires_grad=False).copy_(decode(entry, name, rule))
    entry.pop(name + SCALE, None)
    entry[name] = torch.zeros_like(p, dtype=dtype, requires_grad=False)
    if dtype == torch.uint8:
        entry[name + SCALE] = zeros_of_blocks(p, torch.float32)
        encode(entry, name, numbers, rule)
    else:
        local_of(entry[name]).copy_(numbers)


def _check_scales(where: Where, entry: Entry, name: str, p: Tensor) -> None:
    scales: Any
    scales, like = entry.get(name + SCALE), zeros_of_blocks(p, torch.float32)
    if isinstance(scales, Tensor) and not is_shard(scales) and not is_shard(p) and scales.numel() == like.numel():
        scales = scales.reshape(-1)  # scales that were gathered from several ranks have two axes
    fits = isinstance(scales, Tensor) and scales.dtype == like.dtype and scales.shape == like.shape
    if not (fits and placed_alike(scales, like) and has_memory(scales)):
        need = f"{like.dtype} {tuple(like.shape)}{memory_of(scales)}"
        need += f", {placement_of(like)}" if is_shard(like) else ""
        raise ValueError(f"{where.state(name + SCALE)} must be {need} for a state of 8 bits; got {named(scales)}")
    entry[name + SCALE] = scales.detach().contiguous()


def decode(entry: Entry, name: str, rule: Rule) -> Tensor:
    """Return a state as float32 numbers. For a DTensor, return the part of this rank."""
    state: Tensor = local_of(entry[name]).detach()
    if state.dtype != torch.uint8:
        return state.to(torch.float32)
    codes, scales = state.numpy(), local_of(entry[name + SCALE]).numpy().ravel()
    numbers = formats.decode_u8(arrays.flat(codes), scales, rule.is_positive(name))
    return torch.from_numpy(arrays.shaped(numbers, codes))


def encode(entry: Entry, name: str, numbers: Tensor, rule: Rule) -> None:
    """Write float32 numbers into the 8-bit state `name`. They must have the memory layout of the state.

    If the state is a DTensor, `numbers` is the part of this rank.
    """
    state, scales = local_of(entry[name]), local_of(entry[name + SCALE])
    codes, found = formats.encode_u8(arrays.flat(numbers.numpy()), rule.is_positive(name))
    state.copy_(torch.from_numpy(arrays.shaped(codes, state.numpy())))
    scales.copy_(torch.from_numpy(found).view_as(scales))


def keep_bits(where: Where, entry: Entry, p: Tensor) -> None:
    """Create the states for the float32 weight of a 16-bit parameter (``master_weights=True``), or check existing ones.

    For a float16 parameter, the state ``"master"`` has the whole weight. A bfloat16 parameter is the weight, rounded to
    bfloat16, and the state ``"low"`` has the weight's lower 16 bits. The state ``"low_sum"`` has a checksum of each
    block of 256 elements of a bfloat16 parameter. The checksums show whether other code has changed the
    parameter. If they are missing, as in a checkpoint of several ranks, they are computed from the present parameter.

    Raises
    ------
    ValueError
        If ``"low"`` (int16) or ``"master"`` (float32) has a wrong dtype or shape, or if ``"low_sum"`` is not valid.
    """
    name, dtype = ("low", torch.int16) if p.dtype == torch.bfloat16 else ("master", torch.float32)
    kept, own = entry.get(name), local_of(p).detach()
    if kept is None:
        made = torch.empty_like(p, dtype=dtype, requires_grad=False)
        entry[name] = made.copy_(p.detach()) if name == "master" else made.zero_()
        entry |= {"low_sum": torch.zeros(formats.block_count(own.numel()), dtype=torch.int32)} if name == "low" else {}
        return
    fits = isinstance(kept, Tensor) and kept.dtype == dtype and kept.shape == p.shape and placed_alike(kept, p)
    if not fits or not has_memory(kept):
        raise ValueError(f"{where.state(name)} must be {dtype} {tuple(p.shape)}{memory_of(kept)}; got {named(kept)}")
    moved = not _lies_like(local_of(kept), own)
    if moved:
        entry[name] = torch.empty_like(p, dtype=dtype, requires_grad=False).copy_(kept.detach())
    if name == "low":
        _keep_sums(where, entry, own, moved)


def _keep_sums(where: Where, entry: Entry, own: Tensor, moved: bool) -> None:
    sums, count = entry.get("low_sum"), formats.block_count(own.numel())
    if sums is None or moved:  # in another memory layout, the blocks have other elements
        entry["low_sum"] = torch.from_numpy(formats.low_sums(arrays.flat(own.view(torch.int16).numpy())))
        return
    if not isinstance(sums, Tensor) or sums.dtype != torch.int32 or tuple(sums.shape) != (count,):
        raise ValueError(f"{where.state('low_sum')} must be torch.int32 ({count},); got {named(sums)}")
    if not sums.is_contiguous():
        entry["low_sum"] = sums.contiguous()


def _lies_like(t: Tensor, p: Tensor) -> bool:
    """Return True if the state `t` has the memory layout and the device that a new state of the parameter `p` has."""
    return t.stride() == torch.empty_like(p, device="meta").stride() and t.device == p.device


def own_state(what: str, value: Any, shape: tuple[int, ...], dtype: torch.dtype, start: float) -> Tensor:
    """Check a state that the kernel of the step does not use, and return it. If `value` is None, create the state.

    The state is a contiguous tensor on the CPU. It is float64 if `dtype`, the dtype of the parameter, is float64, and
    else float32. If `value` has another dtype, memory layout or device, return a converted copy. `shape` is the shape
    of the state. The elements of a new state have the value `start`.
    """
    wide = torch.promote_types(dtype, torch.float32)
    if value is None:
        return torch.full(shape, start, dtype=wide)
    if not isinstance(value, Tensor) or tuple(value.shape) != shape or not has_memory(value):
        raise ValueError(f"{what} must be {wide} {shape}{memory_of(value)}; got {named(value)}")
    fits = value.dtype == wide and value.is_contiguous() and not value.requires_grad and value.device.type == "cpu"
    return value if fits else value.detach().to("cpu", wide).contiguous()


def named(value: Any) -> str:
    """Return a text about a state, for error messages."""
    if not isinstance(value, Tensor):
        return repr(value)
    return f"{value.dtype} {tuple(value.shape)}" + ("" if has_memory(value) else " without dense memory")


def memory_of(value: Any) -> str:
    """Return " with dense memory" if a state is a tensor without it, for error messages. Otherwise return ""."""
    return " with dense memory" if isinstance(value, Tensor) and not has_memory(value) else ""


def has_memory(whole: Tensor) -> bool:
    """Return False if a tensor is not dense, or if its storage does not contain its first element.

    torch may crash when it reads such a tensor.
    """
    t = local_of(whole)
    if t.layout != torch.strided or t.is_meta:
        return False
    return t.numel() == 0 or t.untyped_storage().nbytes() >= (t.storage_offset() + 1) * t.element_size()
