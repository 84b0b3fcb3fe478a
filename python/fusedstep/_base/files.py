"""Read safetensors files. Write files completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

import numpy as np

from .arrays import Array

SPARE = 1 << 24  # bytes of memory for reading a file, in addition to twice the size of the file


def existing(call: str, path: str | os.PathLike[str]) -> str:
    """Return `path` as a str, after a check that it is the path of a regular file that can be read.

    Raises
    ------
    OSError
        If the file is missing, cannot be read or is a folder.
    ValueError
        If the file is a pipe, a terminal or another special file, because reading such a file could wait for ever.
    """
    name = os.fsdecode(path)
    if not stat.S_ISREG(os.stat(name).st_mode) and not os.path.isdir(name):
        raise ValueError(f"{call}: path must be a regular file; got {name!r}")
    with open(name, "rb"):
        return name


def read_tensors(call: str, path: str | os.PathLike[str]) -> tuple[str, str, dict[str, Array]]:
    """Read a safetensors file that fusedstep wrote.

    Return `path` as a str, the text under the key "fusedstep" in the header of the file, and the tensors.

    Raises
    ------
    OSError, ValueError
        If the file cannot be read, or is not a safetensors file with this key.
    MemoryError
        If there is too little memory for the tensors.
    """
    from safetensors import SafetensorError, safe_open

    name = existing(call, path)
    # The file is mapped into memory, and then its tensors are copied. If there is too little memory for the map and the
    # copies, safetensors panics and may never return. So the same amount is allocated first, which raises MemoryError.
    np.empty(2 * os.path.getsize(name) + SPARE, np.uint8)
    try:
        with safe_open(name, framework="numpy") as file:
            text = (file.metadata() or {}).get("fusedstep")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, TypeError, AttributeError) as error:  # AttributeError: a dtype that NumPy lacks
        raise ValueError(f"{call}: {name!r} is not a safetensors file: {error}") from None
    if text is None:
        raise ValueError(
            f"{call}: path must be a file that fusedstep wrote; got {name!r}, a safetensors file without fusedstep's "
            "header"
        )
    return name, text, tensors


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield the path of a new, empty file, which replaces the file at `path` when the ``with`` block ends.

    If the block raises an error, the new file is deleted, and the old file stays. The new file gets the permissions of
    the old file. If there is no old file, the umask decides. If `path` is a symbolic link, the link is replaced, and
    not the file that it points to.
    """
    path = os.fsdecode(path)
    folder, name = os.path.split(path)
    shown = f"{name}." if len(os.fsencode(name)) < 200 else ""  # the new name may have at most 255 bytes
    temporary = os.path.join(folder, f".{shown}{os.urandom(4).hex()}.tmp")
    try:
        mode = _mode_of_file(path)
        with open(temporary, "xb") as file:
            mode = os.fstat(file.fileno()).st_mode if mode is None else mode
    except OSError as error:
        error.filename = path  # so that the message shows the user's path, and not that of the new file
        raise
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, stat.S_IMODE(mode) & 0o777)  # the writer may have created the file again with another mode
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _mode_of_file(path: str) -> int | None:
    """Return the mode of the regular file at `path`, or None if there is none. Refuse a folder."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return mode if stat.S_ISREG(mode) else None
