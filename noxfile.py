"""What is checked, a session each: `nox -l` lists them, `nox` runs the quick ones, `.ci/run` all.

A session has an environment of its own, or with ``--no-venv`` the one that is active, in which fusedstep is installed.
The versions of the tools are those of the extra "dev" in pyproject.toml.
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
SOURCES = {"PYTHONPATH": "python", "MYPYPATH": "python"}  # nothing needs to be built to look at them

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_venv = "yes"


def install(session: nox.Session, *requirements: str) -> None:
    """Install into the environment of the session, whosever it is."""
    session.run("python", "-m", "pip", "install", "-q", *requirements)


def install_package(session: nox.Session, *extras: str) -> None:
    """Build and install fusedstep with some extras; where it is installed already, only what those need."""
    name = "fusedstep" if session.venv_backend == "none" else "."
    install(session, f"{name}[{','.join(extras)}]")


def script(session: nox.Session, name: str, *arguments: str) -> None:
    """Run a script of .ci."""
    session.run("bash", f".ci/{name}.sh", *arguments, external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Look at the sources: form, imports, includes."""
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
    """Check the types: of the package, of the benchmark, and what a user's script sees of them."""
    typed = (*PEERS, *(r for name in ("bench", "checkpoint", "narrow", "search") for r in EXTRAS[name]))
    install(session, *(PINS[name] for name in ("mypy", "basedpyright")), "numpy", *typed)
    session.run("mypy", "-p", "fusedstep", env=SOURCES)
    session.run("mypy", "bench", env=SOURCES)
    session.run("mypy", "tests/typing/user.py", env=SOURCES)
    session.run("basedpyright", "tests/typing/user.py")


@nox.session
def tests(session: nox.Session) -> None:
    """Run README's tests; arguments go to pytest."""
    install_package(session, "test")
    session.run("pytest", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Read ten thousand invalid files; with FUSEDSTEP_NIGHTLY=1, as many as ten minutes allow."""
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
    """Compare with torch: nothing may be skipped."""
    install_package(session, "test")
    install(session, *PEERS)
    session.run("pytest", "-m", "torch", env={"FUSEDSTEP_REQUIRE_PEERS": "1"})


@nox.session
def ranks(session: nox.Session) -> None:
    """Run NumPy loops over MPI, and estimators on a cluster of dask: nothing may be skipped."""
    install_package(session, "test", "mpi", "dask")
    session.run("pytest", "tests/test_mpi.py", "tests/test_dask.py", env={"FUSEDSTEP_REQUIRE_PEERS": "1"})


@nox.session
def integrations(session: nox.Session) -> None:
    """Run in the other tools that the package fits into: nothing may be skipped."""
    install_package(session, "test", "integrations")
    files = sorted(str(path) for path in Path("tests").glob("test_integrations_*.py"))
    session.run("pytest", *files, env={"FUSEDSTEP_REQUIRE_INTEGRATIONS": "1", "FUSEDSTEP_REQUIRE_PEERS": "1"})


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into docs/_build/html; with `-- -D plot_gallery=0` no page of the gallery is run."""
    install_package(session, "docs")
    install(session, *PEERS)  # the pages of fusedstep.torch
    for folder in ("_build", "api/generated", "auto_gallery"):
        shutil.rmtree(Path("docs", folder), ignore_errors=True)
    options = ("-b", "html", "--fail-on-warning", "--keep-going", *session.posargs)
    session.run("python", "-m", "sphinx", *options, "docs", "docs/_build/html")
    session.run("python", "docs/check_site.py", "docs/_build/html")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel; it is small, alone, the same when built elsewhere, and runs on older CPUs."""
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
    """Compare the bits of gcc, clang and aarch64; look at what the kernels' objects export."""
    install(session, *(PINS[name] for name in ("cmake", "ninja")))
    script(session, "check_symbols", *(() if os.environ.get("FUSEDSTEP_NIGHTLY") else ("g++", "Debug")))
    script(session, "check_architectures")


@nox.session
def sanitizers(session: nox.Session) -> None:
    """Run under the sanitizers, each of which must find a mistake first."""
    install_package(session, "test")
    script(session, "check_sanitizers")


@nox.session
def clang(session: nox.Session) -> None:
    """Build with clang, with warnings as errors, and compare the bits of all rules."""
    environment = {"CXX": "clang++-14", "SKBUILD_CMAKE_DEFINE": "FUSEDSTEP_WERROR=ON"}
    own = ("-C", "build-dir=build/clang-wheel")  # in a folder that gcc has used, CMake would go on with gcc
    session.run("python", "-m", "pip", "install", "-q", *own, ".", "pytest", "hypothesis", env=environment)
    session.run("pytest", "tests/test_rules.py")


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmark once, and count the instructions of a step."""
    install_package(session, "bench", "test")
    install(session, *PEERS)
    results = str(Path(session.create_tmp(), "quick.json").resolve())
    session.run("python", "-m", "bench", "--quick", "--minutes", "0.5", "--json", results)
    session.run("python", "-m", "bench", "compare", results, results)
    session.run("python", "-m", "bench", "instructions")


@nox.session
def commands(session: nox.Session) -> None:
    """Run what the command line offers."""
    install_package(session, "train", "doctor", "bench")
    session.run("fusedstep", "doctor")
    with session.chdir(session.create_tmp()):
        session.run("fusedstep", "bench", "--only", "adam/mlp", "--minutes", "0.1")
        session.run("fusedstep", "train", "--out", "run")
