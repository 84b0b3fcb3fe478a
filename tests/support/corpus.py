"""The files with which the fuzzer starts: valid files, truncated files, and files with wrong headers or contents."""

from __future__ import annotations

import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

import fusedstep as fs
from fusedstep import nn
from support.descriptors import lying_descriptors


def optimizer() -> fs.optim.Optimizer:
    params = {"a": np.ones(5, np.float32), "../../b": np.ones((2, 3))}
    return fs.Adam([{"params": params}], lr=fs.schedules.ReduceOnPlateau(0.1), ema_decay=0.9)


def narrow_optimizer() -> fs.optim.Optimizer:
    """Return an optimizer with 8-bit states, and with states for the low bits of the float32 weights."""
    p, q = np.ones(300, ml_dtypes.bfloat16), np.ones((2, 3), ml_dtypes.bfloat16)
    return fs.Adam({"a": p, "b": q}, state_dtype="uint8", master_weights=True, ema_decay=0.9)


def model() -> nn.TrainedModel:
    layers = nn.Linear(3, 4), nn.BatchNorm(relu=True), nn.Dropout(0.25), nn.Linear(4, 2)
    return nn.TrainedModel(nn.Sequential(*layers, rng=0), "classification", np.zeros(3), np.ones(3), [], ["x", 1])


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
        "blocks.safetensors": saved(stepped(narrow_optimizer()).save, ""),
        "model.safetensors": saved(lambda path: nn.save(path, model()), ""),
        "table.csv": f"u,v,y\n{rows}".encode(),
        "table.npz": saved(lambda path: np.savez(path, X=x, y=y), ".npz"),
    }


def stepped(opt: fs.optim.Optimizer) -> fs.optim.Optimizer:
    opt.step([np.full_like(p, 0.1) for p in opt.params.values()])
    return opt


def tensors_file(header: Any, data: bytes, length: int | None = None) -> bytes:
    """Return a safetensors file with this header and data. If given, `length` replaces the header's true length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def taken_apart(file: bytes) -> tuple[dict[str, Any], bytes]:
    (n,) = struct.unpack("<Q", file[:8])
    return json.loads(file[8 : 8 + n]), file[8 + n :]


def lying_headers(file: bytes) -> Iterator[bytes]:
    """Yield copies of a safetensors file in which the length, the tensors or the metadata of the header are wrong."""
    header, data = taken_apart(file)
    text = json.dumps(header).encode()
    for length in (0, 1, len(text) - 1, len(text) + 1, 2**31, 2**62, 2**63, 2**64 - 1):
        yield tensors_file(header, data, length)
    first, second = [name for name in header if name != "__metadata__"][:2]
    begin, end = header[first]["data_offsets"]
    for about in (
        {"data_offsets": [begin, end + 4]},  # the tensor overlaps the next tensor
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
    """Yield texts that replace the JSON text in a header's metadata.

    Some are not the JSON text of an object. In the others, one value is replaced, or one key is missing.
    """
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
    """Yield .npz archives whose members have wrong shapes or are not arrays."""
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
    """Return the names in `fuzz.READERS`, each with a list of files (bytes). The first file of each list is valid."""
    good = good_files()
    found = {name: [data, b"", *(data[: len(data) * k // 16] for k in range(16))] for name, data in good.items()}
    for name in ("state.safetensors", "blocks.safetensors", "model.safetensors"):
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
