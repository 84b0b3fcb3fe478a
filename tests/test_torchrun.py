"""Under torchrun, fusedstep warns if CPUs stay idle because OMP_NUM_THREADS is too small."""

from __future__ import annotations

import warnings
from types import ModuleType

import pytest

import fusedstep as fs
from fusedstep._base import threads

pytestmark = pytest.mark.thread_unsafe


@pytest.fixture
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Imitate a machine with 8 CPUs, on which torchrun has started two processes with OMP_NUM_THREADS=1."""
    monkeypatch.setattr(threads, "affinity", lambda: 8)
    monkeypatch.setattr(threads, "quotas", lambda: iter(()))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return monkeypatch


def test_warning_about_idle_cpus_contains_a_command_that_uses_all_cpus(eight_cpus: pytest.MonkeyPatch) -> None:
    said = threads.idle_under_torchrun(1)
    assert said == (
        "torchrun has started 2 processes with OMP_NUM_THREADS=1 each, and 6 of 8 CPUs stay idle; to use all CPUs: "
        "OMP_NUM_THREADS=4 torchrun --nproc-per-node 2 ..."
    )


@pytest.mark.parametrize(
    "changes",
    [{"LOCAL_WORLD_SIZE": "1"}, {"LOCAL_WORLD_SIZE": "8"}, {"OMP_NUM_THREADS": "4"}, {"LOCAL_WORLD_SIZE": ""}],
)
def test_no_warning_if_torchrun_makes_no_cpu_idle(eight_cpus: pytest.MonkeyPatch, changes: dict[str, str]) -> None:
    """The cases are one process, 8 processes, two processes with OMP_NUM_THREADS=4, and no torchrun.

    For one process, torchrun does not set OMP_NUM_THREADS.
    """
    for name, value in changes.items():
        eight_cpus.setenv(name, value)
    assert threads.idle_under_torchrun(1) == ""


def test_only_the_first_step_of_a_process_warns(torch: ModuleType, eight_cpus: pytest.MonkeyPatch) -> None:
    from fusedstep._base import runtime
    from fusedstep.torch import SGD

    eight_cpus.setattr(runtime, "_warned", False)
    fs.set_num_threads(1)
    w = torch.nn.Parameter(torch.ones(3))
    w.grad = torch.ones(3)
    optimizers = SGD([w], lr=0.1), SGD([w], lr=0.1)
    with pytest.warns(RuntimeWarning, match="OMP_NUM_THREADS=4 torchrun --nproc-per-node 2"):
        optimizers[0].step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for optimizer in optimizers:
            optimizer.step()
