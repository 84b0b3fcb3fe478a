"""Checkpoints of several processes that replace older ones all at once."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.filesystem import FileSystem, FileSystemWriter


class CheckpointWriter(FileSystemWriter):
    r"""Write a checkpoint of torch.distributed over an older one, which stays loadable until the new one is complete.

    torch's own writer writes into the files that are there: if a process is killed meanwhile, neither the old nor the
    new state is left. Here every save has files of its own beside them; the renaming of one file, ``.metadata``, makes
    them the checkpoint. Then older files are removed, also those of saves that were broken off.

    Parameters
    ----------
    path : str or os.PathLike
        The folder, on a file system that all processes share.
    **options
        As for ``torch.distributed.checkpoint.FileSystemWriter``.

    Notes
    -----
    Loading is torch's: ``dcp.load(state, checkpoint_id=path)``. One save at a time may go on in a folder, and no load
    while one ends.

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
        """Tell the base class that nothing is written over; it would warn."""
        return False

    def prepare_global_plan(self, plans: list[Any]) -> list[Any]:
        """Give the files of this save names that no other save has."""
        planned = []
        for plan in super().prepare_global_plan(plans):
            names = dataclasses.replace(plan.storage_data, prefix=f"{self.save_id}{plan.storage_data.prefix}")
            planned.append(dataclasses.replace(plan, storage_data=names))
        return planned

    def finish(self, metadata: Any, results: list[list[Any]]) -> None:
        """Make the files of this save the checkpoint, and remove others."""
        super().finish(metadata, results)
        used = {info.relative_path for info in metadata.storage_data.values()}
        for file in Path(self.path).glob("*.distcp"):
            if file.name not in used:
                file.unlink()


class _Replacing(FileSystem):
    """Lets a rename replace the file that says what belongs to a checkpoint, so that there is one at any time."""

    def rm_file(self, path: str | os.PathLike[str]) -> None:
        if Path(path).name != ".metadata":
            super().rm_file(path)
