"""Files that lie, by the thousand: ``python tests/fuzz.py -runs=10000`` (needs atheris; other options are libFuzzer's).

Whatever the bytes, reading a checkpoint, a model, a .csv or an .npz file, or a gradient behind a descriptor of DLPack,
ends in an object or in one of the errors that are documented; it changes nothing that it should not, makes no other
file, and allocates no more than the file's size warrants. `tests/test_fuzz.py` runs the corpus below and some mutations
of it without atheris.
"""

from __future__ import annotations

import atexit
import functools
import io
import json
import os
import shutil
import struct
import sys
import tempfile
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas  # noqa: F401 (what an import takes must not count)

import fusedstep as fs
from fusedstep import nn
from fusedstep.cli._data import load_table, prepare
from fusedstep.cli._errors import UsageError
from fusedstep.tables import TableError
from support.descriptors import lying_descriptors, read_descriptor

#: Bytes that reading may take, beside so many times the file's size: buffers and messages. Deflate packs 1,032 to 1.
ROOM, TIMES, TIMES_PACKED = 20 << 20, 64, 5000


def optimizer() -> fs.optim.Optimizer:
    params = {"a": np.ones(5, np.float32), "../../b": np.ones((2, 3))}
    return fs.Adam([{"params": params}], lr=fs.schedules.ReduceOnPlateau(0.1), ema_decay=0.9)


def model() -> nn.TrainedModel:
    layers = nn.Linear(3, 4), nn.BatchNorm(relu=True), nn.Dropout(0.25), nn.Linear(4, 2)
    return nn.TrainedModel(nn.Sequential(*layers, rng=0), "classification", np.zeros(3), np.ones(3), [], ["x", 1])


def read_optimizer(path: Path) -> None:
    """Load a file. After an error nothing may have changed; otherwise, saving must give a file that loads."""
    opt = optimizer()
    opt.step([np.ones(5, np.float32), None])
    before = everything(opt)
    try:
        opt.load(path)
    except (ValueError, TypeError):
        assert everything(opt) == before
        raise
    opt.save(path)
    opt.load(path)
    opt.step([np.ones(5, np.float32), None])


def everything(opt: Any) -> list[Any]:
    arrays = [*opt.params.values(), *opt.ema.values(), *(a for s in opt.state.values() for a in s.values())]
    return [*(a.tobytes() for a in arrays), opt.steps, repr(opt.groups), repr(opt.groups[0]["lr"].state_dict())]


def read_model(path: Path) -> None:
    trained = nn.load(path)
    with np.errstate(all="ignore"):
        trained.predict(np.ones((2, len(trained.input_mean))))
    nn.save(path, trained)
    nn.load(path)


def read_table(path: Path) -> None:
    prepare(load_table(str(path), "y" if path.suffix == ".csv" else None), "auto", 0)


#: What is read, from a file of which name, and which errors say that it cannot be.
READERS: dict[str, tuple[Callable[[Path], None], tuple[type[Exception], ...]]] = {
    "state.safetensors": (read_optimizer, (ValueError, TypeError)),
    "model.safetensors": (read_model, (ValueError,)),
    "table.csv": (read_table, (UsageError, TableError)),
    "table.npz": (read_table, (UsageError,)),
    "gradient.dlpack": (read_descriptor, (ValueError, TypeError)),
}


def check(name: str, data: bytes) -> bool:
    """Tell whether the file could be read; raise if reading it had a forbidden effect."""
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
    assert peak < limit, f"{peak} bytes were allocated for a file of {len(data)}"
    assert not others, f"other files were made: {others}"
    return read


@functools.cache
def folder() -> Path:
    """Return an empty folder for this process, in memory if possible."""
    outer = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    atexit.register(shutil.rmtree, outer)
    inner = Path(outer, "inner")
    inner.mkdir()
    return inner


# The corpus: files that are well, and lies about them.


def saved(write: Callable[[Path], None], suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "file" + suffix)
        write(path)
        return path.read_bytes()


def good_files() -> dict[str, bytes]:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((24, 2)).round(2), np.arange(24) % 2
    rows = "".join(f"{a},{b},{c}\n" for (a, b), c in zip(x, y, strict=True))
    return {
        "state.safetensors": saved(optimizer().save, ""),
        "model.safetensors": saved(lambda path: nn.save(path, model()), ""),
        "table.csv": f"u,v,y\n{rows}".encode(),
        "table.npz": saved(lambda path: np.savez(path, X=x, y=y), ".npz"),
    }


def tensors_file(header: Any, data: bytes, length: int | None = None) -> bytes:
    """Return a safetensors file with this header, which may claim another length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def taken_apart(file: bytes) -> tuple[dict[str, Any], bytes]:
    (n,) = struct.unpack("<Q", file[:8])
    return json.loads(file[8 : 8 + n]), file[8 + n :]


def lying_headers(file: bytes) -> Iterator[bytes]:
    """Yield files with a header of another length, of other tensors or of other metadata before the same data."""
    header, data = taken_apart(file)
    text = json.dumps(header).encode()
    for length in (0, 1, len(text) - 1, len(text) + 1, 2**31, 2**62, 2**63, 2**64 - 1):
        yield tensors_file(header, data, length)
    first, second = [name for name in header if name != "__metadata__"][:2]
    begin, end = header[first]["data_offsets"]
    for about in (
        {"data_offsets": [begin, end + 4]},  # over the next one
        {"data_offsets": header[second]["data_offsets"]},
        {"data_offsets": [end, begin]},
        {"data_offsets": [-1, 3]},
        {"data_offsets": [2**62, 2**63]},
        {"data_offsets": [begin, end], "shape": [2**62, 4]},
        {"shape": [2**32, 2**32]},
        {"shape": [10**12], "data_offsets": [0, 4 * 10**12]},
        {"shape": [-5]},
        {"shape": [1] * 1000},
        {"dtype": "BF16"},
        {"dtype": "F8_E4M3"},
        {"dtype": "I64"},
        {"dtype": "object"},
        {"evil": 1},
    ):
        yield tensors_file({**header, first: {**header[first], **about}}, data)
    for name in ("/etc/passwd", "../evil", "state.exp_avg.../../evil", "", "\0", "state.", "ema.", "model.x" * 1000):
        yield tensors_file({**{k: v for k, v in header.items() if k != first}, name: header[first]}, data)
    yield tensors_file({**header, "more": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}, data)
    for text in lying_metadata(header["__metadata__"]["fusedstep"]):
        yield tensors_file({**header, "__metadata__": {"fusedstep": text}}, data)
    yield tensors_file({**header, "__metadata__": {}}, data)
    yield tensors_file({**header, "__metadata__": {"fusedstep": {}}}, data)
    yield tensors_file(b"[" * 100_000, data)
    yield tensors_file(b'{"a":' * 100_000, data)


def lying_metadata(text: str) -> Iterator[str]:
    """Yield descriptions with one value replaced, for every place, and texts that are not descriptions."""
    yield from ("", "null", "[]", "3", "{}", "NaN", "[" * 100_000, '{"format":' + "9" * 5000 + "}", text[:-1], text * 2)
    described = json.loads(text)
    for value in (None, True, -1, 0, 2**63, 1e308, float("nan"), "x", [], {}, [[]], {"x": 1}):
        for replaced in with_one_replaced(described, value):
            yield json.dumps(replaced)


def with_one_replaced(old: Any, new: Any) -> Iterator[Any]:
    yield new
    if isinstance(old, dict):
        for key in old:
            yield {k: v for k, v in old.items() if k != key}
            yield from ({**old, key: inner} for inner in with_one_replaced(old[key], new))
    elif isinstance(old, list):
        for k in range(len(old)):
            yield from ([*old[:k], inner, *old[k + 1 :]] for inner in with_one_replaced(old[k], new))


def lying_archives() -> Iterator[bytes]:
    """Yield archives whose members claim other shapes, or are not arrays."""
    for shape in ((10**12, 10**3), (2**62, 2**62), (-3, 2), (40, 10**6), (), (0,)):
        member = io.BytesIO()
        np.lib.format.write_array_header_2_0(member, {"descr": "<f8", "fortran_order": False, "shape": shape})
        for data in (b"\0" * 640, b""):
            yield archive(member.getvalue() + data)
    for bad in (
        b"",
        b"hello",
        b"\x93NUMPY\x02\0" + struct.pack("<I", 2**31) + b"{",
        b"\x93NUMPY\x01\0\x10\0{'descr':evil}  ",
    ):
        yield archive(bad)


def archive(member: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("X.npy", member)
        packed.writestr("y.npy", member)
    return file.getvalue()


def corpus() -> dict[str, list[bytes]]:
    """Return valid files (first) and invalid ones, by name."""
    good = good_files()
    found = {name: [data, b"", *(data[: len(data) * k // 16] for k in range(16))] for name, data in good.items()}
    for name in ("state.safetensors", "model.safetensors"):
        found[name] += lying_headers(good[name])
    found["table.npz"] += lying_archives()
    found["gradient.dlpack"] = list(lying_descriptors())
    rows = good["table.csv"].decode()
    found["table.csv"] += [
        text.encode("utf-8", "surrogatepass")
        for text in (
            rows.replace(",", ";"),
            rows.replace("\n", "\r"),
            rows.replace("0.", "\0", 1),
            rows.replace("0.", '"', 1),
            rows + "\ud800,1,1\n",
            rows + "1e308,1,1\n-1e308,1,1\n",
            rows + "1," * 100_000,
            rows + "9" * 200_000 + ",1,1\n",
            "u,u,y\n" + rows,
            "\ufeff" + rows,
        )
    ]
    return found


def main() -> None:
    """Fuzz: the first byte chooses the reader of the rest."""
    import atheris

    atheris.instrument_all()
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
