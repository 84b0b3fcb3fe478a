"""Checkpoints of several processes. A new one replaces the old one in one step."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.filesystem import FileSystem, FileSystemWriter


class CheckpointWriter(FileSystemWriter):
    r"""Write a checkpoint of torch.distributed over an older one, which stays loadable until the new one is complete.

    torch's own writer overwrites the existing files. If a process is killed in the meantime, both the old and the new
    state are lost. Here every save writes new files. When one of them, ``.metadata``, is renamed, the new files become
    the checkpoint. Then all older files are removed, also those of interrupted saves.

    Parameters
    ----------
    path : str or os.PathLike
        The folder, on a file system that all processes share.
    **options
        As for ``torch.distributed.checkpoint.FileSystemWriter``.

    Notes
    -----
    Load with torch: ``dcp.load(state, checkpoint_id=path)``. Only one save at a time may run in a folder, and no load
    may run while a save ends.

    Examples
    --------
    >>> import tempfile, torch, torch.distributed.checkpoint as dcp, warnings
    >>> from fusedstep.torch import CheckpointWriter
    >>> warnings.simplefilter("ignore")  # torch says that there is one process only
    >>> path = tempfile.mkdtemp()
    >>> for step in range(2):
    ...     _ = dcp.save({"w": torch.full((2,), float(step))}, storage_writer=CheckpointWriter(path), no_dist=True)
    >>> state = {"w": torch.zeros(2)}
    >>> dcp.load(state, checkpoint_id=path, no_dist=True)
    >>> state["w"].tolist()
    [1.0, 1.0]
    """

    def __init__(self, path: str | os.PathLike[str], **options: Any) -> None:
        super().__init__(path, **options)
        self.fs = _Replacing()

    def _metadata_exists(self) -> bool:
        """Return False, so that the base class does not warn about files that it would overwrite."""
        return False

    def prepare_global_plan(self, plans: list[Any]) -> list[Any]:
        """Add this save's id to the names of its files."""
        planned = []
        for plan in super().prepare_global_plan(plans):
            names = dataclasses.replace(plan.storage_data, prefix=f"{self.save_id}{plan.storage_data.prefix}")
            planned.append(dataclasses.replace(plan, storage_data=names))
        return planned

    def finish(self, metadata: Any, results: list[list[Any]]) -> None:
        """Rename the metadata, so that this save becomes the checkpoint, and remove all other files."""
        super().finish(metadata, results)
        used = {info.relative_path for info in metadata.storage_data.values()}
        for file in Path(self.path).glob("*.distcp"):
            if file.name not in used:
                file.unlink()


class _Replacing(FileSystem):
    """Does not delete the old ``.metadata``: the rename replaces it, so that there is one at any time."""

    def rm_file(self, path: str | os.PathLike[str]) -> None:
        if Path(path).name != ".metadata":
            super().rm_file(path)
