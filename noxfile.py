"""The checks of the project, in sessions: `nox -l` lists the sessions, `nox` runs three of them, `.ci/run` runs all.

Each session has its own environment. With ``--no-venv``, a session uses the active environment, in which fusedstep must
be installed. The extra "dev" in pyproject.toml states the versions of the tools.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import nox

EXTRAS = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]
PINS = {re.split("[=>]", requirement)[0]: requirement for requirement in EXTRAS["dev"]}
PEERS = EXTRAS["peers"]
SOURCES = {"PYTHONPATH": "python", "MYPYPATH": "python"}  # the sources are checked without a build

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_venv = "yes"


def install(session: nox.Session, *requirements: str) -> None:
    """Install packages into the environment of the session, which may be the active one."""
    session.run("python", "-m", "pip", "install", "-q", *requirements)


def install_package(session: nox.Session, *extras: str) -> None:
    """Build and install fusedstep with some extras. With ``--no-venv``, install only the packages of the extras."""
    name = "fusedstep" if session.venv_backend == "none" else "."
    install(session, f"{name}[{','.join(extras)}]")


def script(session: nox.Session, name: str, *arguments: str) -> None:
    """Run the script ``.ci/NAME.sh``."""
    session.run("bash", f".ci/{name}.sh", *arguments, external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Check the sources: format, import rules, include cycles."""
    install(session, *(PINS[name] for name in ("ruff", "import-linter", "clang-format")))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", env=SOURCES)
    session.run("python", ".ci/check_includes.py")
    found = [path for folder in ("csrc", "tests/engine") for path in Path(folder).rglob("*.[ch]*")]
    files = sorted(str(path) for path in found if path.suffix in (".h", ".cpp"))
    session.run("clang-format", "--dry-run", "-Werror", *files)


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package, of the benchmark, and of a script that uses the package."""
    typed = (*PEERS, *(r for name in ("bench", "checkpoint", "narrow", "search") for r in EXTRAS[name]))
    install(session, *(PINS[name] for name in ("mypy", "basedpyright")), "numpy", *typed)
    session.run("mypy", "-p", "fusedstep", env=SOURCES)
    session.run("mypy", "bench", env=SOURCES)
    session.run("mypy", "tests/typing/user.py", env=SOURCES)
    session.run("basedpyright", "tests/typing/user.py")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests as the README says. Further arguments are passed to pytest."""
    install_package(session, "test")
    session.run("pytest", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Read ten thousand invalid files. With FUSEDSTEP_NIGHTLY=1, read invalid files for ten minutes."""
    install_package(session, "test")
    install(session, "atheris==3.0.0")
    program = str(Path("tests/fuzz.py").resolve())
    with session.chdir(session.create_tmp()):
        limits = (
            ["-max_total_time=600"] if os.environ.get("FUSEDSTEP_NIGHTLY") else ["-runs=10000", "-max_total_time=120"]
        )
        session.run("python", program, *limits)


@nox.session
def peers(session: nox.Session) -> None:
    """Run the tests that compare with torch. No test may be skipped."""
    install_package(session, "test")
    install(session, *PEERS)
    session.run("pytest", "-m", "torch", env={"FUSEDSTEP_REQUIRE_PEERS": "1"})


@nox.session
def ranks(session: nox.Session) -> None:
    """Run the tests with MPI and with a dask cluster. No test may be skipped."""
    install_package(session, "test", "mpi", "dask")
    session.run("pytest", "tests/test_mpi.py", "tests/test_dask.py", env={"FUSEDSTEP_REQUIRE_PEERS": "1"})


@nox.session
def integrations(session: nox.Session) -> None:
    """Run the tests with Lightning, Hugging Face, MLflow, ONNX and other tools. No test may be skipped."""
    install_package(session, "test", "integrations")
    files = sorted(str(path) for path in Path("tests").glob("test_integrations_*.py"))
    session.run("pytest", *files, env={"FUSEDSTEP_REQUIRE_INTEGRATIONS": "1", "FUSEDSTEP_REQUIRE_PEERS": "1"})


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into docs/_build/html. With `-- -D plot_gallery=0`, the scripts of the gallery are not run."""
    install_package(session, "docs")
    install(session, *PEERS)  # needed by the pages of fusedstep.torch
    for folder in ("_build", "api/generated", "auto_gallery"):
        shutil.rmtree(Path("docs", folder), ignore_errors=True)
    options = ("-b", "html", "--fail-on-warning", "--keep-going", *session.posargs)
    session.run("python", "-m", "sphinx", *options, "docs", "docs/_build/html")
    session.run("python", "docs/check_site.py", "docs/_build/html")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel. Check its size, its libraries, its type stubs, that a second build is equal, and older CPUs."""
    folder = str(Path(session.create_tmp(), "wheel").resolve())
    epoch = session.run("git", "log", "-1", "--format=%ct", external=True, silent=True)
    environment = {"SOURCE_DATE_EPOCH": str(epoch).strip()}
    options = ("--no-deps", "-C", "cmake.define.FUSEDSTEP_WERROR=ON", "-w", folder)
    session.run("python", "-m", "pip", "wheel", "-q", *options, ".", env=environment)
    (built,) = Path(folder).glob("*.whl")
    install(session, "--force-reinstall", "--no-deps", str(built))
    install(session, "numpy", *PEERS, *(PINS[name] for name in ("mypy", "pybind11", "cmake", "ninja")))
    stubs = ("fusedstep._core", "fusedstep.optim._catalogue", "fusedstep.torch.optimizers")
    session.run("stubtest", *stubs, "--allowlist", ".ci/stubtest-allowed.txt")
    script(session, "check_wheel", folder)
    session.run("bash", ".ci/check_reproducible.sh", folder, external=True, env=environment)
    script(session, "check_isa", folder)


@nox.session
def architectures(session: nox.Session) -> None:
    """Compare the bits of gcc, clang and aarch64. Check the symbols that the object files of the kernels export."""
    install(session, *(PINS[name] for name in ("cmake", "ninja")))
    script(session, "check_symbols", *(() if os.environ.get("FUSEDSTEP_NIGHTLY") else ("g++", "Debug")))
    script(session, "check_architectures")


@nox.session
def sanitizers(session: nox.Session) -> None:
    """Run the tests under the sanitizers. Each sanitizer must also find a deliberate mistake."""
    install_package(session, "test")
    script(session, "check_sanitizers")


@nox.session
def clang(session: nox.Session) -> None:
    """Build with clang, with warnings as errors. Compare the bits of all optimizers with their NumPy functions."""
    environment = {"CXX": "clang++-14", "SKBUILD_CMAKE_DEFINE": "FUSEDSTEP_WERROR=ON"}
    own = ("-C", "build-dir=build/clang-wheel")  # in a build folder of gcc, CMake would use gcc again
    session.run("python", "-m", "pip", "install", "-q", *own, ".", "pytest", "hypothesis", env=environment)
    session.run("pytest", "tests/test_rules.py")


@nox.session
def bench(session: nox.Session) -> None:
    """Run a short benchmark, and count the instructions of a step."""
    install_package(session, "bench", "test")
    install(session, *PEERS)
    results = str(Path(session.create_tmp(), "quick.json").resolve())
    session.run("python", "-m", "bench", "--quick", "--minutes", "0.5", "--json", results)
    session.run("python", "-m", "bench", "compare", results, results)
    session.run("python", "-m", "bench", "instructions")


@nox.session
def commands(session: nox.Session) -> None:
    """Run the commands `doctor`, `bench` and `train`."""
    install_package(session, "train", "doctor", "bench")
    session.run("fusedstep", "doctor")
    with session.chdir(session.create_tmp()):
        session.run("fusedstep", "bench", "--only", "adam/mlp", "--minutes", "0.1")
        session.run("fusedstep", "train", "--out", "run")
