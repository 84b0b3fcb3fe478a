"""Files of version 0.1.0 can be loaded, and later steps have the bits of that version.

tests/data/write.py wrote the files. Two results may differ in the last bits from version 0.1.0: second moments (Adam,
RMSprop, Adadelta) and averages of parameters. Later versions compute them in another order. The new order makes
averages exact for beta 0 and 1, and allows squares that overflow.
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
    """Return True if later versions than 0.1.0 compute the steps of a case in another order."""
    return case.startswith(("Adadelta", "Adam", "RMSprop")) or "average" in case


def close(name: str, params: list[Any], rtol: float) -> None:
    """Compare the parameters with those of version 0.1.0 after three more steps."""
    with np.load(FOLDER / "continued.npz") as continued:
        for k, p in enumerate(params):
            np.testing.assert_allclose(p, continued[f"{name}.{k}"], rtol=rtol)


@pytest.mark.parametrize("case", ARRAY_CASES)
def test_states_of_earlier_versions_load_into_arrays(case: str) -> None:
    """After three more steps, the parameters agree with those of version 0.1.0."""
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
    """Return the parameters and states of every case, which torch saved."""
    with gzip.open(FOLDER / "tensors.pt.gz") as file:
        return torch.load(file, weights_only=True)


@pytest.mark.parametrize("case", TENSOR_CASES)
def test_states_of_earlier_versions_load_into_tensors(case: str, tensors: Any) -> None:
    """After three more steps, the parameters agree with those of version 0.1.0."""
    params, opt = tensor_optimizer(case, tensors[case]["params"])
    opt.load_state_dict(tensors[case]["state"])
    steps_of_tensors(params, opt, 3)
    half = "bfloat16" in case
    close(f"tensors.{case}", [p.detach().double().numpy() for p in params], rtol=2.0**-8 if half else 1e-6)
    if not other_bits(case):
        assert bits_of_tensors(params, opt) == json.loads((FOLDER / "tensors.json").read_text())[case]


def test_loaded_models_of_earlier_versions_have_the_predictions_of_that_version() -> None:
    want = json.loads((FOLDER / "models.json").read_text())
    model = nn.load(FOLDER / "model.safetensors")
    assert model.predict_proba(np.linspace(-1, 1, 20, dtype=np.float32).reshape(4, 5)).tolist() == want["model"]
    command = nn.load(FOLDER / "train.safetensors")
    assert command.predict(np.linspace(-1, 1, 30).reshape(3, 10)).tolist() == want["train"]
