"""Two processes run the examples of docs/distributed.md with torchrun.

Their losses agree with those of one process, and their parameters are equal.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

pytestmark = [pytest.mark.usefixtures("torch"), pytest.mark.thread_unsafe]
EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SECONDS = 300
# A process of torch.distributed prints this, rarely and only on a busy machine, if it aborts when it ends.
ABORTED = "terminate called without an active exception"


def run(folder: Path, *arguments: str) -> tuple[str, list[float]]:
    """Run Python with these arguments, which start an example. Return the output and the losses of the example.

    If a process aborts when it ends, the example runs a second time.
    """
    path = folder / "losses"
    environment = {**os.environ, "LOSSES": str(path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
        if ABORTED not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
    return done.stdout, [float(line) for line in path.read_text(encoding="utf-8").split()]


@cache
def losses_of_one_process(folder: Path) -> list[float]:
    return run(folder, str(EXAMPLES / "ddp.py"))[1]


@pytest.mark.parametrize("name", ["ddp", "fsdp2", "zero"])
def test_two_ranks_have_the_losses_of_one_process_and_equal_parameters(
    name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text, losses = run(tmp_path, *TORCHRUN, str(EXAMPLES / f"{name}.py"))
    parameters = re.findall(r"^rank (\d) of 2: .*parameters ([0-9a-f]{8})$", text, re.MULTILINE)
    assert sorted(rank for rank, _ in parameters) == ["0", "1"]
    assert parameters[0][1] == parameters[1][1]
    alone = losses_of_one_process(tmp_path_factory.getbasetemp())
    assert len(losses) == 100
    assert losses == pytest.approx(alone, rel=1e-5)
    assert losses[-1] < 0.7 * losses[0]
