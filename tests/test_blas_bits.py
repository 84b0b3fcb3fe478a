"""docs/numerics.md says which results do not depend on the number of BLAS threads. The test checks examples."""

from __future__ import annotations

import pytest

from support.interpreters import python

pytest.importorskip("sklearn")
pytest.importorskip("threadpoolctl")

BITS = """
import hashlib, warnings
import numpy as np
import fusedstep as fs
from fusedstep import nn
from fusedstep.sklearn import MLPClassifier, MLPRegressor

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
found = []
X, y = rng.standard_normal((400, 300)), rng.integers(0, 3, 400)
for options in ({}, {"batch_size": 32}, {"hidden_layer_sizes": (256, 256), "batch_norm": True, "dropout": 0.5}):
    for kind in (MLPClassifier, MLPRegressor):
        made = kind(random_state=0, max_iter=2, **options).fit(X, y)
        found += [*made.coefs_, *made.intercepts_]
for dtype in (np.float32, np.float64):
    for rows, width in ((1, 180), (32, 180), (64, 128)):
        model = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 5), dtype=dtype, rng=0)
        model.forward(X[:rows, :width].astype(dtype), training=True)
        model.backward(np.ones((rows, 5), dtype), need_dx=True)
        found += [model.forward(X[:rows, :width].astype(dtype), training=False), *model.grads.values()]
print(*(hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest()[:8] for a in found))
"""


@pytest.mark.parametrize(
    "kernels",
    ["", pytest.param("Haswell", marks=pytest.mark.nightly)],
    ids=["kernels for this CPU", "kernels for AVX2"],
)
def test_fits_have_the_same_bits_with_one_and_two_blas_threads(kernels: str) -> None:
    """BLAS uses its kernels for this CPU or, if `kernels` is "Haswell", its kernels for AVX2."""
    chosen = {"OPENBLAS_CORETYPE": kernels} if kernels else {}
    one, two = (python(BITS, OPENBLAS_NUM_THREADS=n, **chosen) for n in "12")
    assert one.returncode == two.returncode == 0, one.stderr + two.stderr
    assert len(one.stdout.split()) > 50 and one.stdout == two.stdout
