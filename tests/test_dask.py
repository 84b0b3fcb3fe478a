"""Cross-validation on a dask.distributed cluster gives the same bits as cross-validation in one process."""

from __future__ import annotations

import os
from typing import Any

import pytest

pytestmark = [pytest.mark.thread_unsafe, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def distributed() -> Any:
    """Return the package. If it is not installed, skip the tests, or fail if FUSEDSTEP_REQUIRE_PEERS is set."""
    if os.environ.get("FUSEDSTEP_REQUIRE_PEERS"):
        import distributed
    else:
        distributed = pytest.importorskip("distributed")
    return distributed


def test_cross_validation_on_a_dask_cluster_has_the_scores_of_one_process(distributed: Any) -> None:
    """The cluster has two workers with one thread each."""
    import joblib
    from sklearn.datasets import load_digits
    from sklearn.model_selection import cross_val_score

    from fusedstep.sklearn import MLPClassifier

    x, y = load_digits(return_X_y=True)
    model = MLPClassifier((32,), solver="AdamW", learning_rate_init=0.01, max_iter=8, dropout=0.1, random_state=0)
    scores_of_one_process = cross_val_score(model, x[:600] / 16, y[:600], cv=4)
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster), joblib.parallel_config(backend="dask"):
        scores_of_cluster = cross_val_score(model, x[:600] / 16, y[:600], cv=4, n_jobs=-1)
    assert scores_of_cluster.tobytes() == scores_of_one_process.tobytes()
    assert scores_of_one_process.mean() > 0.5
