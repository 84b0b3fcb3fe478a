"""Write files with the installed version of the package, and the results that this version computes from these files.

Usage: python tests/data/write.py (in the root of the repository, with fusedstep[train] and torch installed).

The folder of the files has the name of the version, for example tests/data/0.1.0. Each optimizer takes three steps and
is saved. For NumPy arrays, the states are in one file for each optimizer, and the parameters are in arrays.npz. For
torch's tensors, tensors.pt.gz has the parameters and the states. Then each optimizer takes three more steps. After
them, arrays.json and tensors.json have hashes of the parameters and states, and continued.npz has the parameters.
The last files are two models, and models.json with their predictions.
"""

from __future__ import annotations

import copy
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import fusedstep as fs
from fusedstep import nn
from fusedstep.cli import main
from support.checkpoints import (
    ARRAY_CASES,
    TENSOR_CASES,
    array_optimizer,
    arrays_of,
    bits_of_arrays,
    bits_of_tensors,
    steps_of_arrays,
    steps_of_tensors,
    tensor_optimizer,
)


def write_arrays(folder: Path) -> None:
    """Write the states and parameters of optimizers on arrays after three steps, and their hashes after six steps."""
    found, params = {}, {}
    for case in ARRAY_CASES:
        opt = array_optimizer(case)
        steps_of_arrays(opt, 0)
        opt.save(folder / f"{case}.safetensors")
        params |= {f"{case}.{k}": p.copy() for k, p in enumerate(arrays_of(opt))}
        steps_of_arrays(opt, 3)
        found[case] = bits_of_arrays(opt)
    np.savez_compressed(folder / "arrays.npz", **params)
    (folder / "arrays.json").write_text(json.dumps(found, indent=1) + "\n")


def write_tensors(folder: Path) -> None:
    """Write the states and parameters of torch optimizers after three steps, and their hashes after six steps."""
    import torch

    found: dict[str, Any] = {}
    states = {}
    for case in TENSOR_CASES:
        params, opt = tensor_optimizer(case)
        steps_of_tensors(params, opt, 0)
        states[case] = {"params": [p.detach().clone() for p in params], "state": copy.deepcopy(opt.state_dict())}
        steps_of_tensors(params, opt, 3)
        found[case] = bits_of_tensors(params, opt)
    with gzip.GzipFile(folder / "tensors.pt.gz", "wb", mtime=0) as file:
        torch.save(states, file)
    (folder / "tensors.json").write_text(json.dumps(found, indent=1) + "\n")


def write_continued(folder: Path) -> None:
    """Write the parameters of all optimizers after six steps."""
    found = {}
    for case in ARRAY_CASES:
        opt = array_optimizer(case)
        steps_of_arrays(opt, 0)
        steps_of_arrays(opt, 3)
        found |= {f"arrays.{case}.{k}": p.copy() for k, p in enumerate(arrays_of(opt))}
    for case in TENSOR_CASES:
        params, torch_opt = tensor_optimizer(case)
        steps_of_tensors(params, torch_opt, 0)
        steps_of_tensors(params, torch_opt, 3)
        found |= {f"tensors.{case}.{k}": p.detach().double().numpy() for k, p in enumerate(params)}
    np.savez_compressed(folder / "continued.npz", **found)


def write_models(folder: Path) -> None:
    """Write a model with several kinds of layers, a model from the command `fusedstep train`, and their predictions."""
    X = np.linspace(-1, 1, 20, dtype=np.float32).reshape(4, 5)
    layers = [nn.Linear(5, 6), nn.BatchNorm(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 4), nn.HardTanh()]
    model = nn.Sequential(*layers, nn.Linear(4, 3), rng=3)
    model.forward(X, training=True)
    trained = nn.TrainedModel(model, "classification", np.arange(5.0), np.full(5, 2.0), list("abcde"), ["x", "y", "z"])
    nn.save(folder / "model.safetensors", trained)
    if main(["train", "--data", "diabetes", "--epochs", "3", "--hidden", "8", "--out", str(folder / "train")]) != 0:
        raise SystemExit("fusedstep train failed")
    found = {"model": trained.predict_proba(X).tolist()}
    command = nn.load(folder / "train" / "model.safetensors")
    found["train"] = command.predict(np.linspace(-1, 1, 30).reshape(3, 10)).tolist()
    (folder / "models.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / "train" / "model.safetensors").rename(folder / "train.safetensors")
    for left in (folder / "train").iterdir():
        left.unlink()
    (folder / "train").rmdir()


if __name__ == "__main__":
    target = Path(__file__).parent / fs.__version__
    target.mkdir(exist_ok=True)
    write_arrays(target)
    write_tensors(target)
    write_continued(target)
    write_models(target)
