"""BLAS is limited to one thread during a fit or a command that computes small matrix products.

Afterwards, the earlier number of threads is restored.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusedstep import nn
from fusedstep.nn import threads
from fusedstep.nn.threads import largest_weight, one_blas_thread

threadpoolctl = pytest.importorskip("threadpoolctl")

pytestmark = pytest.mark.thread_unsafe


def blas_threads() -> int:
    """Return the number of threads of NumPy's BLAS. If SciPy has loaded another BLAS, that BLAS is ignored."""
    found = [lib for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas"]
    own = [lib for lib in found if "numpy" in lib["filepath"]]
    return max(lib["num_threads"] for lib in own or found)


@pytest.fixture(autouse=True)
def _two_threads_of_blas(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the number of BLAS threads to two. Behave as if BLAS, not the threads of fusedstep, computed all products."""
    monkeypatch.setattr(threads, "_shares_products", lambda: False)
    libraries = threadpoolctl.ThreadpoolController().select(user_api="blas")
    limiter = libraries.limit(limits=2)
    threads.release(libraries)
    try:
        if blas_threads() != 2:
            pytest.skip("this BLAS can use only one thread")
        yield
        assert blas_threads() == 2, "the test must restore the earlier limit"
    finally:
        threads.release(libraries)
        limiter.restore_original_limits()
        threads.release(libraries)


def test_blas_is_limited_for_small_products_and_not_for_large_products() -> None:
    with one_blas_thread(rows=200, largest=64 * 100):
        assert blas_threads() == 1
    with one_blas_thread(rows=4096, largest=1024 * 1024):
        assert blas_threads() == 2


def test_blas_is_not_limited_if_threads_of_fusedstep_compute_the_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a network and its batch are so small that fusedstep uses only one core, BLAS is limited."""
    monkeypatch.setattr(threads, "_shares_products", lambda: True)
    with one_blas_thread(rows=200, largest=64 * 100):
        assert blas_threads() == 2
    with one_blas_thread(rows=32, largest=64 * 100):  # small enough for one core
        assert blas_threads() == 1


def test_number_of_blas_threads_is_restored_after_an_error() -> None:
    """If several blocks with the limit overlap, the end of the last block restores the earlier number of threads.

    After the test, the fixture checks that BLAS has this number of threads.
    """
    with pytest.raises(KeyError), one_blas_thread(8, 8):
        with one_blas_thread(8, 8):
            assert blas_threads() == 1
        assert blas_threads() == 1
        raise KeyError
    first, second = one_blas_thread(8, 8), one_blas_thread(8, 8)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert blas_threads() == 1
    second.__exit__(None, None, None)


def test_several_threads_may_limit_blas_at_the_same_time() -> None:
    seen = []

    def work() -> None:
        for _ in range(200):
            with one_blas_thread(8, 8):
                pass
        with one_blas_thread(8, 8):
            seen.append(blas_threads())

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert seen == [1] * 4 and threads._limit._count == 0


def test_blas_limit_may_begin_in_one_thread_and_end_in_another() -> None:
    first, second = one_blas_thread(8, 8), one_blas_thread(8, 8)
    first.__enter__()
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with second:
            entered.set()
            leave.wait(10)

    worker = threading.Thread(target=work)
    worker.start()
    assert entered.wait(10)
    first.__exit__(None, None, None)
    assert blas_threads() == 1
    leave.set()
    worker.join()


def test_limit_of_the_user_is_kept_if_another_thread_limits_blas() -> None:
    seen = []

    def work() -> None:
        with one_blas_thread(8, 8):
            seen.append(blas_threads())

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        assert blas_threads() == 2
    assert seen in ([2], [1])  # the number depends on the version of threadpoolctl


def test_calls_of_a_network_do_not_limit_blas() -> None:
    seen = []

    class Look(nn.Layer):
        def forward(self, x: Any, training: bool) -> Any:
            seen.append(blas_threads())
            return x

    model = nn.Sequential(nn.Linear(4, 4), Look(), rng=0)
    model.forward(np.ones((3, 4), np.float32))
    model.predict(np.ones((3, 4), np.float32))
    assert seen == [2, 2]


def test_largest_weight_matrix_may_be_in_a_residual_block() -> None:
    block = nn.Residual(nn.Linear(30, 20), nn.Linear(20, 30), nn.BatchNorm())
    model = nn.Sequential(nn.Linear(4, 30), block, nn.Linear(30, 2), rng=0)
    assert largest_weight(model.layers) == 600  # number of elements


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_estimators_limit_blas_in_fit_and_partial_fit(solver: str) -> None:
    sklearn = pytest.importorskip("fusedstep.sklearn")
    seen: list[int] = []

    def init(shape: Any, rng: Any, dtype: Any) -> Any:
        return np.full(shape, 0.1, dtype)

    options: dict[str, Any] = {"max_iter": 2, "weight_init": init}
    if solver == "adam":
        options |= {"learning_rate": "cosine", "callbacks": [lambda estimator, epoch: seen.append(blas_threads())]}
    x = np.random.default_rng(0).standard_normal((300, 5))
    model = sklearn.MLPRegressor(hidden_layer_sizes=(9,), solver=solver, **options)
    original = sklearn._base._lbfgs.minimize if solver == "lbfgs" else None
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        if original is not None:

            def minimize(*arguments: Any) -> Any:
                seen.append(blas_threads())
                return 1, 0.0

            patch.setattr("fusedstep.sklearn._lbfgs.minimize", minimize)
        model.fit(x, x[:, 0])
        if solver == "adam":
            model.partial_fit(x, x[:, 0])
    assert set(seen) == {1} and len(seen) == (3 if solver == "adam" else 1)
    assert blas_threads() == 2


def test_commands_limit_blas_while_they_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("sklearn", "safetensors", "matplotlib", "pandas"):
        pytest.importorskip(package)
    from fusedstep.cli import main
    from fusedstep.cli._training import Trainer

    monkeypatch.chdir(tmp_path)
    seen: list[int] = []
    original = Trainer.run

    def run(self: Any, *arguments: Any) -> Any:
        seen.append(blas_threads())
        return original(self, *arguments)

    monkeypatch.setattr(Trainer, "run", run)
    monkeypatch.setattr("fusedstep.cli._finish.Finish._draw", lambda *arguments: None)
    assert main(["train", "--data", "iris", "--epochs", "1", "--quiet"]) == 0
    assert main(["compare", "--data", "iris", "--epochs", "1", "--optimizers", "sgd", "--quiet"]) == 0
    assert seen == [1, 1]
