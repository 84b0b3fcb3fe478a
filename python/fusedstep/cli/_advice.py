"""Advice on what to change on a machine. One function per problem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ._machine import Machine

SLOW = 1.3  # largest normal ratio of a step's time to the shortest time that the memory's bandwidth allows
WAITING = 1.5  # largest normal ratio of a matrix product's time with all threads to its time with one thread
# One thread is enough if (bandwidth with all threads) / (bandwidth with one thread) is at most this number.
SATURATED = 1.15


@dataclass(frozen=True)
class Figures:
    """The measured figures. Bandwidths are in GB/s, times in seconds."""

    parameters: int  # number of parameters of the measured Adam step
    copy: float  # the bandwidth of NumPy's copy
    in_place: float  # the bandwidth of the memory traffic of a step, with all threads
    in_place_one: float  # the same with one thread
    should: float  # shortest time that the memory's bandwidth allows for a step
    does: float  # measured time of a step
    product: float = 0.0  # time of a matrix product of NumPy on all threads of BLAS; 0 if unknown
    product_one: float = 0.0  # time of the same product on one thread of BLAS; 0 if unknown


Rule = Callable[[Machine, Figures], str]  # an empty text means no advice


def advise(machine: Machine, figures: Figures) -> list[str]:
    """Return all advice, the most important first."""
    return [text for rule in RULES if (text := rule(machine, figures))]


def _whole(text: str | None) -> int:
    first = (text or "").split(",")[0].strip()
    return int(first) if first.isascii() and first.isdecimal() else 0


def _ranks(machine: Machine) -> int:
    """Return how many processes torchrun has started on this machine."""
    return max(1, _whole(machine.environment.get("LOCAL_WORLD_SIZE")))


def torchrun(machine: Machine, figures: Figures) -> str:
    """Say how many threads each process should have. torchrun gives each process one thread, for any number of CPUs."""
    ranks = _ranks(machine)
    suits = max(1, machine.granted // ranks)
    if ranks < 2 or machine.threads == suits:
        return ""
    return (
        f"torchrun has started {ranks} processes for {machine.granted} CPUs, so each process should have {suits} "
        f"threads. Now each step uses {machine.threads}. Start the processes with OMP_NUM_THREADS={suits} torchrun "
        f"--nproc-per-node {ranks} ..."
    )


def _variable(name: str) -> Rule:
    def rule(machine: Machine, figures: Figures) -> str:
        n = _whole(machine.environment.get(name))
        if not 0 < n < machine.granted or _ranks(machine) > 1:
            return ""
        return (
            f"{name}={machine.environment[name]} limits steps to {n} of {machine.granted} CPUs. "
            f"Unset {name} to use all CPUs."
        )

    return rule


def busy(machine: Machine, figures: Figures) -> str:
    """Advise against measuring on a busy machine."""
    if machine.load is None or machine.load <= 0.5 * machine.cpus:
        return ""
    return (
        f"Other processes keep about {machine.load:.1f} of {machine.cpus} CPUs busy. Steps wait for these CPUs, so "
        "the figures above are not reliable. Run the command again when the other processes have ended."
    )


def quota(machine: Machine, figures: Figures) -> str:
    """Warn of libraries that do not read the container's quota."""
    if machine.quota is None or machine.quota >= machine.affinity:
        return ""
    n = machine.granted
    return (
        f"The container may use {machine.quota:g} of {machine.affinity} CPUs. fusedstep uses {n} threads. Libraries "
        f"that do not read the quota start {machine.affinity} threads, and the system then often pauses all threads. "
        f"Raise the quota, or set OMP_NUM_THREADS={n} and OPENBLAS_NUM_THREADS={n}."
    )


def affinity(machine: Machine, figures: Figures) -> str:
    """Report CPUs that the process may not use."""
    if machine.affinity >= machine.cpus:
        return ""
    return (
        f"This process may run on {machine.affinity} of {machine.cpus} CPUs, because taskset or a scheduler "
        "limits it. If the other CPUs are free, allow the process to use them."
    )


def forced_isa(machine: Machine, figures: Figures) -> str:
    """Report that the CPU has a better instruction set than the one in use."""
    if not machine.isas or machine.isa == machine.isas[0]:
        return ""
    return f"The chosen instruction set is {machine.isa}, but the CPU has {machine.isas[0]}: unset FUSEDSTEP_ISA."


def low_isa(machine: Machine, figures: Figures) -> str:
    """Explain how much slower a CPU without AVX2 is."""
    if not machine.isas or machine.isas[0] != "v2":
        return ""
    return (
        "The CPU has no AVX2. Without AVX2, a step whose arrays fit into the cache takes about twice as long. In a "
        "virtual machine, use the CPU model of the host (in QEMU: -cpu host)."
    )


def two_openmps(machine: Machine, figures: Figures) -> str:
    """Warn of thread pools that compete for the cores."""
    names = sorted({lib.name for lib in machine.libraries if lib.is_openmp})
    if len(names) < 2:
        return ""
    return (
        f"{len(names)} OpenMP runtimes are loaded: {', '.join(names)}. Each runtime has its own threads, and an idle "
        "thread keeps a CPU core busy for milliseconds. Set OMP_WAIT_POLICY=PASSIVE."
    )


def spinning(machine: Machine, figures: Figures) -> str:
    """Warn that threads of BLAS and threads of OpenMP wait for each other in a loop that uses both libraries."""
    pools = [lib for lib in machine.libraries if not lib.is_openmp and (lib.threads or 0) > 1]
    if machine.backend != "openmp" or machine.threads < 2 or not pools:
        return ""
    return (
        "Steps run on the threads of OpenMP, which keep CPU cores busy for milliseconds after each step. "
        f"{pools[0].name} has {pools[0].threads} threads of its own. In a loop with steps and matrix products, the "
        "two kinds of threads wait for each other. If NumPy computes the products, set FUSEDSTEP_BACKEND=threads. "
        "If the network is small, set OPENBLAS_NUM_THREADS=1."
    )


def too_many(machine: Machine, figures: Figures) -> str:
    """Warn of more threads than CPUs."""
    pools = [lib for lib in machine.libraries if (lib.threads or 0) > machine.granted]
    if not pools:
        return ""
    variable = "OMP_NUM_THREADS" if pools[0].is_openmp else "OPENBLAS_NUM_THREADS"
    return (
        f"{pools[0].name} has {pools[0].threads} threads for {machine.granted} CPUs, so its threads wait for "
        f"each other. Set {variable}={machine.granted}."
    )


def waiting_products(machine: Machine, figures: Figures) -> str:
    """Warn of BLAS threads that wait for CPU cores."""
    if not figures.product_one or figures.product <= WAITING * figures.product_one:
        return ""
    return (
        f"A matrix product of NumPy takes {figures.product / figures.product_one:.1f} x as long with all BLAS threads "
        "as with one thread, because the threads wait for busy CPU cores. The commands and estimators of fusedstep "
        "compute small products with one thread. For your own loops, set OPENBLAS_NUM_THREADS=1, or stop the other "
        "programs."
    )


def waiting(machine: Machine, figures: Figures) -> str:
    """Warn of settings with which idle OpenMP threads keep CPU cores busy."""
    env = machine.environment
    name = "OMP_WAIT_POLICY" if env.get("OMP_WAIT_POLICY", "").lower() == "active" else "GOMP_SPINCOUNT"
    if name not in env or (name == "GOMP_SPINCOUNT" and 0 < _whole(env[name]) <= 300_000):
        return ""
    return f"With {name}={env[name]}, idle OpenMP threads occupy CPU cores that BLAS needs. Unset {name}."


def small_pages(machine: Machine, figures: Figures) -> str:
    """Recommend huge pages if they are off."""
    if machine.huge_pages != "never":
        return ""
    return (
        "Transparent huge pages are off, so the CPU looks up an address for every 4 KB of an array. As root, run: "
        "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled."
    )


def saturated(machine: Machine, figures: Figures) -> str:
    """Report that one thread already uses nearly the whole bandwidth of the memory."""
    if machine.threads < 2 or figures.in_place > SATURATED * figures.in_place_one or busy(machine, figures):
        return ""
    return (
        f"One thread moves {figures.in_place_one:.0f} GB/s, and {machine.threads} threads together move "
        f"{figures.in_place:.0f} GB/s. So large steps are not faster with more threads on this machine. With "
        "num_threads=1, the other CPU cores are free."
    )


def slow(machine: Machine, figures: Figures) -> str:
    """Report a step that is slower than the memory allows, if the machine is not busy."""
    if figures.does <= SLOW * figures.should or busy(machine, figures):
        return ""
    return (
        f"A step takes {figures.does / figures.should:.1f} x the shortest time that the memory's bandwidth allows. If "
        "a second run gives the same result, please report it with this output."
    )


RULES: tuple[Rule, ...] = (
    busy,
    torchrun,
    _variable("FUSEDSTEP_NUM_THREADS"),
    _variable("OMP_NUM_THREADS"),
    quota,
    affinity,
    forced_isa,
    low_isa,
    too_many,
    two_openmps,
    spinning,
    waiting_products,
    waiting,
    small_pages,
    saturated,
    slow,
)
