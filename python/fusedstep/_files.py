"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator


def existing(call: str, path: str | os.PathLike[str]) -> str:
    """Return the path of a file that can be read from end to end.

    Raises
    ------
    OSError
        The usual ones of what is missing, may not be read or is a folder.
    ValueError
        If it is no regular file: a pipe or a terminal would be waited for.
    """
    name = os.fsdecode(path)
    if not stat.S_ISREG(os.stat(name).st_mode) and not os.path.isdir(name):
        raise ValueError(f"{call}: path must be a regular file; got {name!r}")
    with open(name, "rb"):
        return name


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield the path of a new, empty file; at the end it becomes `path`, or vanishes if an error was raised.

    A symbolic link at `path` is replaced, not followed.
    """
    path = os.fsdecode(path)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.urandom(4).hex()}.tmp")
    with open(temporary, "xb"):
        pass
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
