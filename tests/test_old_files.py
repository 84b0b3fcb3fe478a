"""Files of version 0.1.0 can be loaded. Steps after that have the same bits as with version 0.1.0.

tests/data/write.py wrote the files. Two results may differ in the last bits: second moments (Adam, RMSprop, Adadelta)
and averages of parameters. Versions after 0.1.0 compute them with other roundings.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusedstep import nn
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

pytest.importorskip("safetensors")

FOLDER = Path(__file__).parent / "data" / "0.1.0"


def other_bits(case: str) -> bool:
    """Return True if versions after 0.1.0 compute the steps of this case with other roundings."""
    return case.startswith(("Adadelta", "Adam", "RMSprop")) or "average" in case


def close(name: str, params: list[Any], rtol: float) -> None:
    """Assert that `params` agree with the parameters that version 0.1.0 has after three more steps."""
    with np.load(FOLDER / "continued.npz") as continued:
        for k, p in enumerate(params):
            np.testing.assert_allclose(p, continued[f"{name}.{k}"], rtol=rtol)


@pytest.mark.parametrize("case", ARRAY_CASES)
def test_state_saved_by_version_0_1_0_is_loaded_into_an_optimizer_of_arrays(case: str) -> None:
    """After three more steps, the parameters agree with those of version 0.1.0.

    If the present version rounds in this case as version 0.1.0 did (see `other_bits`), the parameters and the states
    even have the same bits.
    """
    with np.load(FOLDER / "arrays.npz") as saved:
        opt = array_optimizer(case, [saved[f"{case}.{k}"].copy() for k in range(3)])
    opt.load(FOLDER / f"{case}.safetensors")
    assert opt.steps == 3
    steps_of_arrays(opt, 3)
    close(f"arrays.{case}", arrays_of(opt), rtol=1e-6)
    if not other_bits(case):
        assert bits_of_arrays(opt) == json.loads((FOLDER / "arrays.json").read_text())[case]


@pytest.fixture(scope="module")
def tensors(torch: Any) -> Any:
    """Return the parameters and states of every case. `torch.save` wrote their file."""
    with gzip.open(FOLDER / "tensors.pt.gz") as file:
        return torch.load(file, weights_only=True)


@pytest.mark.parametrize("case", TENSOR_CASES)
def test_state_saved_by_version_0_1_0_is_loaded_into_an_optimizer_of_tensors(case: str, tensors: Any) -> None:
    """After three more steps, the parameters agree with those of version 0.1.0.

    If the present version rounds in this case as version 0.1.0 did (see `other_bits`), the parameters and the states
    even have the same bits.
    """
    params, opt = tensor_optimizer(case, tensors[case]["params"])
    opt.load_state_dict(tensors[case]["state"])
    steps_of_tensors(params, opt, 3)
    half = "bfloat16" in case
    close(f"tensors.{case}", [p.detach().double().numpy() for p in params], rtol=2.0**-8 if half else 1e-6)
    if not other_bits(case):
        assert bits_of_tensors(params, opt) == json.loads((FOLDER / "tensors.json").read_text())[case]


def test_models_saved_by_version_0_1_0_give_the_predictions_of_version_0_1_0() -> None:
    """`nn.save` wrote `model.safetensors`, and the command `fusedstep train` wrote `train.safetensors`."""
    want = json.loads((FOLDER / "models.json").read_text())
    model = nn.load(FOLDER / "model.safetensors")
    assert model.predict_proba(np.linspace(-1, 1, 20, dtype=np.float32).reshape(4, 5)).tolist() == want["model"]
    command = nn.load(FOLDER / "train.safetensors")
    assert command.predict(np.linspace(-1, 1, 30).reshape(3, 10)).tolist() == want["train"]
