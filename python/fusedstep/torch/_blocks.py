"""Blocks of 256 elements, in tensors that are divided among ranks. The elements of a block are consecutive in memory.

With 8-bit states, each block has a scale. Blocks are counted from the first element of the whole tensor. If a rank's
part of the tensor begins in the middle of a block, the part cannot have a scale for this block.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from .._base.formats import BLOCK, block_count
from ._ranks import is_of_fsdp1, is_shard, local_of, placement_of

Tensor = torch.Tensor

#: If a rank's part begins in the middle of a block, `first_block` returns a multiple of this number. No tensor has so
#: many blocks.
_APART = 1 << 40


def zeros_of_blocks(p: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor with a zero for each block of 256 elements of a parameter.

    For a DTensor, the result is a DTensor that is divided among the ranks in the same way as the parameter.
    """
    count = block_count(local_of(p).numel())
    if not is_shard(p):
        return torch.zeros(count, dtype=dtype)
    shape = _shape(p)
    local = torch.zeros(shape if len(shape) == 1 else (count // shape[1], shape[1]), dtype=dtype)
    kind: Any = type(p.detach())  # DTensor, although the type of p may be a subclass of DTensor
    strides = torch.empty(shape, device="meta").stride()
    whole: Any = p
    made: Tensor = kind.from_local(
        local, whole.device_mesh, whole.placements, run_check=False, shape=torch.Size(shape), stride=strides
    )
    return made


def refuse_parts(where: str, p: Tensor) -> None:
    """Raise an error if a rank has only a part of a parameter.

    Optimizers that use the norm of a parameter call this function, because the norm of a part is not the norm of the
    whole parameter.
    """
    cut = is_shard(p) and _cuts(p)
    if cut or is_of_fsdp1(p):
        got = placement_of(p) if cut else "a part that FullyShardedDataParallel (FSDP1) has made"
        raise ValueError(f"{where} must be whole on every rank, because a step needs norms of whole tensors; got {got}")


def refuse_cut_blocks(where: str, p: Tensor) -> None:
    """Raise an error if a rank's part of a parameter could begin inside a block of 256 elements.

    The 8-bit states of a block share one scale. So two ranks must not have parts of the same block.

    Raises
    ------
    ValueError
        The message says how the parameter is divided, and which dtype of states can be used.
    """
    hint = f'if state_dtype is "uint8", because {BLOCK} elements share a scale (or use "bfloat16")'
    if is_of_fsdp1(p):
        raise ValueError(
            f"{where} must not be sharded by FullyShardedDataParallel (FSDP1) {hint}; got a part that may begin inside "
            f"a block of {BLOCK} elements"
        )
    if is_shard(p) and _cuts(p) and not _is_cut_at_blocks(p):
        raise ValueError(
            f"{where} must be cut along its first axis at multiples of {BLOCK} elements {hint}; got "
            f"{placement_of(p)} and the shape {tuple(p.shape)} on a mesh of "
            f"{p.device_mesh.shape} ranks"  # type: ignore[attr-defined]
        )


def first_block(p: Tensor) -> int:
    """Return the number of the block with which this rank's part of a parameter begins.

    A block is 256 consecutive elements. If the part begins in the middle of a block, or does not consist of consecutive
    rows, the returned number is one that no other part has. With stochastic rounding, the random bits for the part
    depend on the returned number.
    """
    if not is_shard(p) or not (cuts := _cuts(p)):
        return 0
    at = [cut.index for cut in cuts]
    start = min(at[0] * _rows_of_one(p), p.shape[0]) * (p.numel() // max(p.shape[0], 1)) if _is_by_rows(p) else 1
    if start % BLOCK == 0:
        return start // BLOCK
    index = 0
    for cut in cuts:
        index = index * cut.ranks + cut.index
    return (1 + index) * _APART


class _Cut:
    """An axis of the device mesh along which a DTensor is divided.

    `ranks` is the number of ranks along the axis, and `index` is the index of this rank.
    """

    def __init__(self, p: Any, axis: int) -> None:
        self.placement = p.placements[axis]
        self.ranks: int = p.device_mesh.size(axis)
        coordinate = p.device_mesh.get_coordinate()
        self.index: int = 0 if coordinate is None else coordinate[axis]


def _cuts(p: Any) -> list[_Cut]:
    axes = range(len(p.placements))
    return [_Cut(p, a) for a in axes if not p.placements[a].is_replicate() and p.device_mesh.size(a) > 1]


def _is_by_rows(p: Any) -> bool:
    """Return True if each rank's part of a DTensor consists of consecutive rows of the whole tensor."""
    cuts = _cuts(p)
    plain = len(cuts) == 1 and type(cuts[0].placement).__name__ == "Shard" and cuts[0].placement.dim == 0
    return bool(plain and p.is_contiguous())


def _rows_of_one(p: Tensor) -> int:
    return -(-p.shape[0] // _cuts(p)[0].ranks)


def _together(p: Tensor) -> tuple[int, int]:
    """Return the smallest number of rows whose elements fill whole blocks, and the number of these blocks."""
    row = math.prod(p.shape[1:])
    common = math.gcd(row, BLOCK)
    return BLOCK // common, row // common


def _is_regular(p: Tensor) -> bool:
    """Return True if it is certain that all groups of rows have equally many blocks.

    A group is the smallest number of rows whose elements fill whole blocks; see `_together`. Only the last group of a
    tensor can have fewer rows. Then it may also have fewer blocks.
    """
    rows, blocks = _together(p)
    return blocks == 1 or p.shape[0] % rows == 0


def _is_cut_at_blocks(p: Tensor) -> bool:
    if p.numel() == 0:
        return True
    if not _is_by_rows(p):
        return False
    return p.shape[0] == 1 or (_is_regular(p) and _rows_of_one(p) % _together(p)[0] == 0)


def _shape(p: Any) -> tuple[int, ...]:
    """Return the shape of a DTensor that has one number for each block of `p`.

    A group is the smallest number of rows of `p` whose elements fill whole blocks; see `_together`. The shape is
    (groups, blocks of a group) if `p` is contiguous and divided among ranks, and all groups have equally many blocks
    (see `_is_regular`). With this shape, each rank has the numbers for the blocks in its own rows of `p`. This is true
    for any number of ranks, if no rank's part of `p` begins inside a group. In all other cases, the shape is
    (blocks of `p`,).
    """
    count = block_count(p.numel())
    is_whole = all(placed.is_replicate() for placed in p.placements)
    if is_whole or count == 0 or not p.is_contiguous():
        return (count,)
    if p.shape[0] == 1:
        return 1, count
    rows, blocks = _together(p)
    return (-(-p.shape[0] // rows), blocks) if _is_regular(p) else (count,)
