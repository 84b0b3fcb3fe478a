"""The estimators pass the tests that scikit-learn has for its own networks."""

from __future__ import annotations

import inspect
import re
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import fusedstep.sklearn

THEIRS = "sklearn.neural_network.tests.test_mlp"

#: Tests that are left out, each with a private attribute that it uses. Only scikit-learn's networks have the attribute.
PRIVATE = {
    "test_adaptive_learning_rate": "_optimizer.learning_rate",
    "test_fit": "_coef_grads",
    "test_gradient": "_loss_grad_lbfgs",
    "test_learning_rate_warmstart": "_optimizer.learning_rate",
    "test_n_iter_no_change": "_no_improvement_count",
    "test_n_iter_no_change_inf": "_no_improvement_count",
}


def _theirs() -> dict[str, Any]:
    """Execute scikit-learn's test file, with fusedstep's estimators in place of scikit-learn's networks.

    Return the names that the file defines, and their values.
    """
    spec = find_spec(THEIRS)
    assert spec is not None and spec.origin is not None, "scikit-learn was installed without its tests"
    source = Path(spec.origin).read_text(encoding="utf-8")
    pattern = r"from sklearn\.neural_network import (MLP\w+, MLP\w+)"
    source, found = re.subn(pattern, r"from fusedstep.sklearn import \1", source)
    assert found == 1
    module = types.ModuleType("theirs")
    module.__file__ = spec.origin
    exec(compile(source, spec.origin, "exec"), vars(module))
    assert module.MLPClassifier is fusedstep.sklearn.MLPClassifier
    return vars(module)


FOUND = _theirs()
TESTS = {name: value for name, value in FOUND.items() if name.startswith("test_")}
globals().update({name: value for name, value in TESTS.items() if name not in PRIVATE})

pytestmark = pytest.mark.filterwarnings("default")  # warnings of scikit-learn's tests


@pytest.fixture
def global_random_seed() -> int:
    """Return the default seed of scikit-learn's tests."""
    return 42


def test_scikit_learn_tests_that_are_left_out_use_private_attributes() -> None:
    assert len(TESTS) > 40
    for name, attribute in PRIVATE.items():
        assert f".{attribute}" in inspect.getsource(TESTS[name]), name
