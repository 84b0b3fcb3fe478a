"""Read thousands of invalid files: ``python tests/fuzz.py -runs=10000``. The options are those of libFuzzer.

This program needs atheris. The files are checkpoints (with ordinary and with 8-bit states), models, .csv and .npz
files, and DLPack descriptors of gradients. For each kind of file, there is a reader: a function that reads it.
Whatever the bytes of a file are, its reader must accept the file or raise a documented error. The reader must create
no other file. The limit of the memory that it may allocate depends on the size of the file.

The fuzzer starts with the files of `tests/support/corpus.py`, and changes them randomly. `tests/test_fuzz.py` reads
these files and some changed copies without atheris.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import sys
import tempfile
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas  # noqa: F401 (imported here, so that its memory is not counted as memory of a reader)

if __name__ == "__main__":  # atheris traces only this package, because tracing all imports takes minutes
    import atheris

    seen = atheris.instrument_imports(include=["fusedstep"])
else:
    seen = contextlib.nullcontext()
with seen:
    import fusedstep as fs
    from fusedstep import nn
    from fusedstep.cli._data import load_table, prepare
    from fusedstep.cli._errors import UsageError
    from fusedstep.tables import TableError
    from support.corpus import corpus, narrow_optimizer, optimizer
    from support.descriptors import read_descriptor

#: A reader may allocate at most ROOM bytes plus TIMES times the size of the file. For an .npz file, which may be
#: compressed, TIMES_PACKED replaces TIMES, because Deflate compresses by a factor of up to 1,032.
ROOM, TIMES, TIMES_PACKED = 20 << 20, 64, 5000


def read_optimizer(path: Path, make: Callable[[], fs.optim.Optimizer] = optimizer) -> None:
    """Load a file into an optimizer. If loading raises an error, assert that the optimizer is unchanged.

    Otherwise, save the optimizer, load it again, and take a step.
    """
    opt = make()
    gradients = [np.ones_like(next(iter(opt.params.values()))), None]
    opt.step(gradients)
    before = everything(opt)
    try:
        opt.load(path)
    except (ValueError, TypeError):
        assert everything(opt) == before
        raise
    opt.save(path)
    opt.load(path)
    opt.step(gradients)


def everything(opt: Any) -> list[Any]:
    """Return all that `load` can change in an optimizer: arrays, number of steps, options and schedule."""
    arrays = [*opt.params.values(), *opt.ema.values(), *(a for s in opt.state.values() for a in s.values())]
    return [
        *(a.tobytes() for a in arrays),
        opt.steps,
        repr(opt.groups),
        repr(getattr(opt.groups[0]["lr"], "state_dict", None)),
    ]


def read_model(path: Path) -> None:
    trained = nn.load(path)
    with np.errstate(all="ignore"):
        trained.predict(np.ones((2, len(trained.input_mean))))
    nn.save(path, trained)
    nn.load(path)


def read_table(path: Path) -> None:
    prepare(load_table(str(path), "y" if path.suffix == ".csv" else None), "auto", 0)


#: The name of a file -> its reader, and the errors that the reader may raise for an invalid file.
READERS: dict[str, tuple[Callable[[Path], None], tuple[type[Exception], ...]]] = {
    "state.safetensors": (read_optimizer, (ValueError, TypeError)),
    "blocks.safetensors": (functools.partial(read_optimizer, make=narrow_optimizer), (ValueError, TypeError)),
    "model.safetensors": (read_model, (ValueError,)),
    "table.csv": (read_table, (UsageError, TableError)),
    "table.npz": (read_table, (UsageError,)),
    "gradient.dlpack": (read_descriptor, (ValueError, TypeError)),
}


def check(name: str, data: bytes) -> bool:
    """Give a file with these bytes to the reader of `name`. Return True if it accepts the file, False if it refuses it.

    Raise an error if the reader raises an undocumented error, allocates too much memory, or creates another file.
    """
    reader, errors = READERS[name]
    path = folder() / name
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            reader(path)
        read = True
    except errors:
        read = False
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        others = {*os.listdir(folder()), *os.listdir(folder().parent)} - {*READERS, "inner"}
    limit = ROOM + (TIMES_PACKED if name.endswith(".npz") else TIMES) * len(data)
    assert peak < limit, f"for {len(data)} bytes, the reader must allocate less than {limit} bytes; got {peak}"
    assert not others, f"the reader must not create other files; got {others}"
    return read


@functools.cache
def folder() -> Path:
    """Return the folder `inner` for the files of this process. It is alone in its parent, and in memory if possible."""
    outer = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    atexit.register(shutil.rmtree, outer)
    inner = Path(outer, "inner")
    inner.mkdir()
    return inner


def main() -> None:
    """Run the fuzzer. The first byte of an input selects the reader of the other bytes."""
    names = list(READERS)

    def one_input(data: bytes) -> None:
        if data:
            check(names[data[0] % len(names)], data[1:])

    with tempfile.TemporaryDirectory() as seeds:
        for k, (name, files) in enumerate(corpus().items()):
            for i, data in enumerate(files[::5]):
                if len(data) < 1 << 16:
                    Path(seeds, f"{k}-{i}").write_bytes(bytes([names.index(name)]) + data)
        atheris.Setup(
            [sys.argv[0], "-max_len=65536", "-rss_limit_mb=2048", "-timeout=10", *sys.argv[1:], seeds], one_input
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
