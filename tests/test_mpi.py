"""The example docs/examples/mpi.py ends with equal parameters on all processes (ranks) of MPI."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "mpi.py"


@pytest.fixture(scope="module")
def mpi() -> dict[str, str]:
    """Return the path of `mpiexec` and the folder of the libraries in the installed package mpich."""
    try:
        metadata.version("mpi4py")
        files = metadata.files("mpich") or []
    except metadata.PackageNotFoundError:
        if os.environ.get("FUSEDSTEP_REQUIRE_PEERS"):
            raise
        pytest.skip("needs mpi4py and mpich")
    program = next(Path(str(f.locate())) for f in files if f.name == "mpiexec").resolve()
    return {"mpiexec": str(program), "libraries": str(program.parents[1] / "lib")}


def run(mpi: dict[str, str], ranks: int) -> dict[str, list[tuple[str, ...]]]:
    """Run the example. Return, for each of its two ways of training, what each rank printed.

    These are three texts: the first loss, the last loss, and a checksum of the parameters' bits.
    """
    environment = {**os.environ, "LD_LIBRARY_PATH": mpi["libraries"], "OMP_NUM_THREADS": "1"}
    command = [mpi["mpiexec"], "-n", str(ranks), sys.executable, str(EXAMPLE)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    line = r"^rank \d of \d: (\w+): loss (\S+), in the end (\S+); parameters (\w+)$"
    found: dict[str, list[tuple[str, ...]]] = {}
    for way, *rest in re.findall(line, done.stdout, re.MULTILINE):
        found.setdefault(way, []).append(tuple(rest))
    return found


def test_two_ranks_have_equal_parameters_and_the_losses_of_a_single_process(mpi: dict[str, str]) -> None:
    """The script trains in two ways, `data_parallel` and `by_slices`. On two ranks, the two ways give equal results."""
    one, two = run(mpi, 1), run(mpi, 2)
    assert one.keys() == two.keys() == {"data_parallel", "by_slices"}
    for way in one:
        assert len(two[way]) == 2
        assert two[way][0] == two[way][1]
        assert two[way][0][:2] == one[way][0][:2]
    assert two["data_parallel"] == two["by_slices"]
