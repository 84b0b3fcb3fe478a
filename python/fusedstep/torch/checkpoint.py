"""Checkpoints of several processes. A new checkpoint replaces the old checkpoint in one operation, a rename."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.filesystem import FileSystem, FileSystemWriter


class CheckpointWriter(FileSystemWriter):
    r"""Write checkpoints of torch.distributed. An old checkpoint can be loaded until the new checkpoint is complete.

    torch's own writer overwrites the files of the old checkpoint. If a process is killed during a save with torch's
    writer, both the old and the new state are lost. This class writes new files instead. At the end of a save, it
    renames a new file to ``.metadata``. With this rename, the new files become the checkpoint. Then the class removes
    the files of the old checkpoint and of interrupted saves.

    Parameters
    ----------
    path : str or os.PathLike
        The folder for the checkpoint. It must be on a file system that all processes share.
    **options
        As for ``torch.distributed.checkpoint.FileSystemWriter``.

    Notes
    -----
    To load a checkpoint, use torch: ``dcp.load(state, checkpoint_id=path)``, where ``dcp`` is
    ``torch.distributed.checkpoint``. Do not run two saves into the same folder at the same time. If a save ends
    while a checkpoint is being loaded, the load can fail, because the save removes the files of the old checkpoint.

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
        """Add the id of this save to the names of the new files."""
        planned = []
        for plan in super().prepare_global_plan(plans):
            names = dataclasses.replace(plan.storage_data, prefix=f"{self.save_id}{plan.storage_data.prefix}")
            planned.append(dataclasses.replace(plan, storage_data=names))
        return planned

    def finish(self, metadata: Any, results: list[list[Any]]) -> None:
        """Rename the metadata file, so that the new files become the checkpoint. Then remove all other data files."""
        super().finish(metadata, results)
        used = {info.relative_path for info in metadata.storage_data.values()}
        for file in Path(self.path).glob("*.distcp"):
            if file.name not in used:
                file.unlink()


class _Replacing(FileSystem):
    """A file system that does not delete ``.metadata``, so that the folder of the checkpoint always has this file.

    At the end of a save, a new file is renamed to ``.metadata`` and so replaces the old file.
    """

    def rm_file(self, path: str | os.PathLike[str]) -> None:
        if Path(path).name != ".metadata":
            super().rm_file(path)
