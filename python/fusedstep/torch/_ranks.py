"""Decisions of optimizers whose gradients are divided among the ranks, the processes of torch.distributed.

Without this module, each rank would clip its part of the gradients by the norm of this part, which is wrong. Here, the
ranks together compute the norm of all gradients. All ranks then make the same decision: they all step, they all skip
the step, or they all raise an error.
"""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist

Tensor = torch.Tensor
#: For one set of gradients: the sum of squares s, s * 2^-1200, s * 2^1200, and True if all elements are finite. The
#: second and third number are used if s is too large or too small for a float64.
Squares = tuple[float, float, float, bool]
_FIELDS = 4

_MESSAGE_BYTES = 512
_LEAST_EXACT = 2.0**-970  # in smaller sums, squares may have lost digits by underflow
#: If ranks have copies of a gradient, the maximum relative difference between the copies' sums of squares. It is not 0,
#: because different machines may round differently.
_COPIES_MAY_DIFFER = 1e-2


def shard_type() -> Any:
    """Return the class DTensor if it has been imported, else None. An import here would take a second."""
    return getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", None)


def is_shard(t: Any) -> bool:
    """Return True for a DTensor."""
    kind = shard_type()
    return kind is not None and isinstance(t, kind)


def local_of(t: Any) -> Any:
    """Return this rank's part of a DTensor. Return any other tensor itself."""
    return t._local_tensor if is_shard(t) else t


def placement_of(t: Any) -> str:
    """Return a text about the placement of a tensor, for error messages."""
    return f"a DTensor with placements {tuple(t.placements)}" if is_shard(t) else "an ordinary tensor"


def placed_alike(a: Any, b: Any) -> bool:
    """Return True if two DTensors have the same placements on the same device mesh, or if neither is a DTensor."""
    if not (is_shard(a) and is_shard(b)):
        return is_shard(a) == is_shard(b)
    return bool(a.placements == b.placements and a.device_mesh == b.device_mesh)


def is_of_fsdp1(p: Tensor) -> bool:
    """Return True if FullyShardedDataParallel (FSDP1) has divided a parameter."""
    return getattr(p, "_fsdp_flattened", False)


def is_part(p: Tensor) -> bool:
    """Return True if this rank may have only a part of a parameter."""
    return is_shard(p) or is_of_fsdp1(p)


def zero_that_makes_this() -> weakref.ref[Any] | None:
    """Return a weak reference to the ZeroRedundancyOptimizer that is now creating its local optimizer, or None.

    The local optimizer updates only some of the parameters, but no argument of its constructor says so. Therefore the
    frames of the callers are searched for a ZeroRedundancyOptimizer.
    """
    if "torch.distributed.optim.zero_redundancy_optimizer" not in sys.modules:
        return None
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "_init_local_optimizer" and "self" in frame.f_locals:
            return weakref.ref(frame.f_locals["self"])
        frame = frame.f_back
    return None


class Ranks:
    """The ranks among which an optimizer's gradients are divided.

    The ranks form a grid (for example a device mesh) with one or more axes.

    Parameters
    ----------
    label : str
        The optimizer's name, for error messages.
    groups : sequence of ProcessGroup
        For each axis of the grid, the process group along this axis.
    cuts : dict of Tensor to tuple of int
        For each parameter, the axes of the grid along which the parameter is divided. Along the other axes, the ranks
        have copies. The attribute ``cuts`` of the new object is not this dict. It is a list of the different tuples in
        the dict.
    unknown : str
        The reason why the process groups are unknown. Empty if they are known.
    by_hand : bool
        True if the user gave the process group. Then `decide` raises an error if two ranks seem to have the same
        gradients.
    """

    def __init__(
        self,
        label: str,
        groups: Sequence[Any],
        cuts: dict[Tensor, tuple[int, ...]],
        unknown: str = "",
        by_hand: bool = False,
    ) -> None:
        self.label, self.groups, self.unknown, self.by_hand = label, groups, unknown, by_hand
        self.cuts = list(dict.fromkeys(cuts.values())) or [(0,)]  # with ZeRO, a rank may have no parameter
        self._class_of = {p: self.cuts.index(cut) for p, cut in cuts.items()}

    def classes_of(self, params: Iterable[Tensor]) -> list[int]:
        """Return an index for each parameter: ``self.cuts[index]`` are the axes along which the parameter is divided.

        ``self.cuts`` is a list of tuples.
        """
        return [self._class_of[p] for p in params]

    def decide(self, squares: Callable[[], list[Squares]], found_inf: bool) -> tuple[bool, float]:
        """Return whether `found_inf` is True on any rank, and the norm of the gradients of all ranks.

        All ranks get the same results.

        Parameters
        ----------
        squares : callable
            Makes all checks of a step, and may raise an error. Returns the sums of squares of this rank's gradients.
            Element k is for the parameters that are divided along the axes ``self.cuts[k]``. Missing elements at the
            end count as 0.
        found_inf : bool
            True if the GradScaler of this rank has found an inf or NaN.

        Raises
        ------
        ValueError
            If the process groups are unknown or wrong, or if gradients that should be copies of each other differ.
        RuntimeError
            If `squares` has raised an error on another rank. If `squares` raises an error on this rank, this method
            raises the same error.
        """
        if self.unknown:
            raise ValueError(f"{self.label}: {self.unknown}")
        error, sums = None, [(0.0, 0.0, 0.0, True)] * len(self.cuts)
        try:
            found = squares()
            sums[: len(found)] = found  # `found` has no sums of the last of `self.cuts` if their parameters are frozen
        except BaseException as e:  # also for Ctrl-C, because the other ranks wait for this rank
            error = e
        table = self._gather([error is not None, found_inf, *(x for of_class in sums for x in of_class)])
        if table[..., 0].any():
            self._raise_everywhere(error)
        rows = [row for k in range(len(self.cuts)) for row in self._parts(table, k)]
        if self.by_hand:
            self._refuse_copies([row[0] or row[2] for row in rows])
        return bool(table[..., 1].any()), _norm(rows)

    def _device(self) -> torch.device:
        """Return the device for messages in the process groups: the CPU if one of the groups supports it."""
        kinds = {device.type for group in self.groups for device in group._device_types}
        return torch.device("cpu" if "cpu" in kinds or not kinds else sorted(kinds)[0])

    def _gather(self, values: Iterable[float]) -> Tensor:
        """Return the values of all ranks as a tensor. Its first axes are the axes of the grid."""
        table = torch.tensor([float(v) for v in values], dtype=torch.float64, device=self._device())
        for group in reversed(self.groups):
            table = gathered(table, group)
        return table.cpu()

    def _parts(self, table: Tensor, k: int) -> list[list[float]]:
        """Return the sums of squares of the gradients whose parameters are divided along the axes ``self.cuts[k]``.

        `table` has the values of all ranks. The result is a list of rows, in the order of the ranks. A rank with copies
        of the gradients of an earlier rank has no row. Every other rank has one row: the items of its `Squares`.
        """
        columns = table[..., 2 + _FIELDS * k : 2 + _FIELDS * (k + 1)]
        for axis in reversed(range(len(self.groups))):
            if axis not in self.cuts[k]:
                self._require_copies(columns.movedim(axis, 0)[..., :3])
                columns = columns.select(axis, 0)
        return columns.reshape(-1, _FIELDS).tolist()

    def _require_copies(self, sums: Tensor) -> None:
        """Raise an error on all ranks if gradients that should be copies of each other differ."""
        high, low = sums.amax(0), sums.amin(0)
        if not bool(((high - low <= _COPIES_MAY_DIFFER * high) | ~high.isfinite()).all()):
            raise ValueError(
                f"{self.label}: gradients of parameters that are not sharded must be the same on all ranks, because "
                f"the norm contains them once; got sums of squares {sums[..., 0].flatten().tolist()}"
            )

    def _refuse_copies(self, sums: list[float]) -> None:
        """Raise an error on all ranks if two ranks have the same sum of squares.

        Then the two ranks probably have the same gradients, and the norm would contain these gradients twice.
        """
        brought = [x for x in sums if x > 0 and math.isfinite(x)]
        if len(set(brought)) < len(brought):
            raise ValueError(
                f"{self.label}: process_group must be a group whose processes have different parts of the gradients; "
                f"got equal sums of squares on different processes: {sums}. Under DistributedDataParallel, leave "
                "process_group None. In a grid of processes, give the group along which parameters are sharded. In all "
                "other cases, pass grad_norm to step"
            )

    def _raise_everywhere(self, error: BaseException | None) -> None:
        """Raise the error of this rank. If it has none, raise a RuntimeError with the message of another rank."""
        text = "" if error is None else f"rank {dist.get_rank()}: {type(error).__name__}: {error}"
        raw = text.encode()[:_MESSAGE_BYTES].ljust(_MESSAGE_BYTES, b"\0")
        table = torch.tensor(list(raw), dtype=torch.uint8, device=self._device())
        for group in reversed(self.groups):
            table = gathered(table, group)
        if error is not None:
            raise error
        rows = [bytes(row).rstrip(b"\0").decode(errors="replace") for row in table.cpu().reshape(-1, len(raw)).tolist()]
        raise RuntimeError(
            f"{self.label}.step: no rank has stepped, because there was an error on {next(filter(None, rows))}"
        )


def gathered(table: Tensor, group: Any) -> Tensor:
    """Return the tensors `table` of all ranks of a group, stacked in the order of the ranks."""
    rows = [torch.empty_like(table) for _ in range(dist.get_world_size(group))]
    dist.all_gather(rows, table, group=group)
    return torch.stack(rows)


def _norm(rows: list[list[float]]) -> float:
    """Return the norm of all gradients, whose sums of squares are in `rows`.

    Each row has four numbers for a set of gradients: the sum of squares s, the scaled sums s * 2^-1200 and s * 2^1200,
    and 1 if all elements are finite, else 0. If the total of the sums s is too large or too small for a float64, the
    scaled sums are used instead.
    """
    total, lowered, raised, finite = 0.0, 0.0, 0.0, True
    for one, low, high, is_finite in rows:
        total, lowered, raised, finite = total + one, lowered + low, raised + high, finite and bool(is_finite)
    if math.isinf(total) and finite:
        return math.sqrt(lowered) * 2.0**600
    return math.sqrt(raised) * 2.0**-600 if total < _LEAST_EXACT else math.sqrt(total)


def may_be_shared() -> bool:
    """Return False if gradients cannot be divided among ranks in this process. Unlike `ranks_of`, this is fast."""
    return shard_type() is not None or (dist.is_available() and dist.is_initialized())


def ranks_of(optimizer: Any, params: Sequence[Tensor]) -> Ranks | None:
    """Return the ranks among which an optimizer's parameters are divided. Return None if each rank has all of them.

    Raises
    ------
    ValueError
        If the parameters are on unrelated device meshes, or if there are DTensors and `process_group` is not None.
    """
    label, group = type(optimizer).__name__, optimizer.process_group
    by_hand = group is not None
    if any(is_shard(p) for p in params):
        if group is not None:
            raise ValueError(
                f"{label}: process_group must be None, because the device mesh of the DTensors defines the ranks; "
                f"got {group!r}"
            )
        return _ranks_of_meshes(label, params)
    if group is None and optimizer._zero is not None and (zero := optimizer._zero()) is not None:
        group = zero.process_group
    if group is not None:
        return Ranks(label, (group,), dict.fromkeys(params, (0,)), by_hand=by_hand)
    if any(is_of_fsdp1(p) for p in params):
        why = (
            "clip_norm and skip_nonfinite need process_group, because under FullyShardedDataParallel each rank has a "
            "part of "
        )
        return Ranks(label, (), dict.fromkeys(params, ()), f"{why}the gradients; got None")
    return None


def _ranks_of_meshes(label: str, params: Sequence[Any]) -> Ranks:
    meshes: list[Any] = []
    for p in params:
        if is_shard(p) and p.device_mesh not in meshes:
            meshes.append(p.device_mesh)
    grid = meshes[0]
    if len(meshes) > 1:
        grid = grid._get_root_mesh()
    axes = [_axes_in(mesh, grid) for mesh in meshes]
    if None in axes:
        raise ValueError(f"{label}: all DTensors must be on slices of one device mesh; got {meshes}")
    cuts: dict[Tensor, tuple[int, ...]] = {}
    for p in params:
        of_mesh = axes[meshes.index(p.device_mesh)] or () if is_shard(p) else ()
        placements = p.placements if is_shard(p) else ()
        cuts[p] = tuple(a for a, placed in zip(of_mesh, placements, strict=True) if not placed.is_replicate())
    return Ranks(label, grid.get_all_groups(), cuts)


def _axes_in(mesh: Any, grid: Any) -> tuple[int, ...] | None:
    """Return the indices of the grid's axes that form a mesh. Return None if the mesh is not a slice of the grid."""
    if mesh == grid:
        return tuple(range(grid.ndim))
    names = grid.mesh_dim_names or ()
    if mesh._get_root_mesh() != grid or not set(mesh.mesh_dim_names or ("",)) <= set(names):
        return None
    return tuple(names.index(name) for name in mesh.mesh_dim_names)


def zero_gradients_of_others(optimizer: Any) -> None:
    """Under a ZeroRedundancyOptimizer, zero the gradients of the parameters that other ranks update.

    With a ZeroRedundancyOptimizer, each rank has all gradients, but updates only some of the parameters.
    """
    zero = None if optimizer._zero is None else optimizer._zero()
    if zero is None:
        return
    own = {p for group in optimizer.param_groups for p in group["params"]}
    for group in zero.param_groups:
        for p in group["params"]:
            if p not in own and p.grad is not None:
                p.grad.detach().zero_()


def spread_parameters(optimizer: Any) -> None:
    """If a ZeroRedundancyOptimizer is used, send each parameter's values from the rank that updates it to all ranks."""
    zero = None if optimizer._zero is None else optimizer._zero()
    if zero is not None:
        zero._sync_params()
