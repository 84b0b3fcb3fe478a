"""Ctrl-C, full disks, folders without write permission, and lack of memory leave existing data intact."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import nn
from support.interpreters import python
from support.oracle import every_class, needs_safetensors, snapshot

posix = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")


@contextmanager
def interrupting(seconds: float) -> Iterator[None]:
    """Send Ctrl-C after this number of seconds."""
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.thread_unsafe
@posix
@every_class
def test_ctrl_c_leaves_each_step_complete_and_undoes_each_context(cls: Any) -> None:
    """Ctrl-C interrupts a loop of steps, contexts (`averaged` and `lookahead`) and state dicts at 40 random moments.

    Afterwards, the optimizer has the same bits as a second optimizer that took as many steps without interrupts.
    """
    rng, g = np.random.default_rng(3), [np.full((40, 50), 0.25), np.full(7, 0.5, np.float32)]
    params = [np.ones((40, 50)), np.ones(7, np.float32)]
    opt, twin = (cls([p.copy() for p in params], lr=0.1, ema_decay=0.5) for _ in range(2))
    interrupted = 0
    for _ in range(40):
        try:
            with interrupting(rng.uniform(1e-4, 3e-3)):
                while True:
                    with opt.averaged():
                        pass
                    if hasattr(opt, "lookahead"):
                        with opt.lookahead():
                            pass
                    opt.step(g, clip_norm=1.0)
                    opt.state_dict()
        except KeyboardInterrupt:
            interrupted += 1
    assert interrupted == 40 and opt.steps > 0
    while twin.steps < opt.steps:
        twin.step(g, clip_norm=1.0)
    assert snapshot(opt) == snapshot(twin)


@pytest.mark.thread_unsafe
@posix
def test_ctrl_c_during_a_long_step_leaves_the_step_complete() -> None:
    p, g = np.zeros(20_000_000, np.float32), np.ones(20_000_000, np.float32)
    opt = fs.SGD([p], lr=1.0)
    with pytest.raises(KeyboardInterrupt), interrupting(5e-3):
        while True:
            opt.step([g])
    assert p.min() == p.max() == -opt.steps


@needs_safetensors
@posix
def test_ctrl_c_in_compare_keeps_the_results_and_the_picture_so_far(tmp_path: Path) -> None:
    """Ctrl-C interrupts the command `compare` while the first optimizer, SGD, trains. The exit status is 130."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    options = ["--optimizers", "SGD,Adam", "--data", "iris", "--epochs", "100000", "--hidden", "4"]
    command = [sys.executable, "-m", "fusedstep.cli", "compare", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as run:
        assert run.stdout
        run.stdout.readline()  # the data
        run.stdout.readline()  # the network and the schedule
        time.sleep(0.5)  # SGD trains now, and prints nothing
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert err == ""
    assert "\nSGD " in out and "Adam" not in out, "the table must have only SGD, because Adam did not start"
    assert (tmp_path / "fusedstep-out/compare.png").read_bytes().startswith(b"\x89PNG")


@needs_safetensors
@posix
def test_train_command_finishes_the_save_of_the_model_after_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes at the start of the save. Afterwards, the model and the picture exist. The exit status is 130."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    from fusedstep import cli
    from fusedstep.cli import _finish

    def interrupted(*args: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        nn.save(*args)

    class Saving:
        save = staticmethod(interrupted)
        TrainedModel = nn.TrainedModel

    monkeypatch.setattr(_finish, "nn", Saving)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "--data", "iris", "--epochs", "1", "--hidden", "4"]) == 130
    assert nn.load("fusedstep-out/model.safetensors").task == "classification"
    assert Path("fusedstep-out/curves.png").exists()


LIMITED_FILES = """
import resource, sys
import numpy as np
import fusedstep as fs
from fusedstep import nn
opt = fs.Adam([np.ones(100_000)])
net = nn.Sequential(nn.Linear(30_000, 1), rng=0)
model = nn.TrainedModel(net, "regression", np.zeros(30_000), np.ones(30_000))
saves = {"state": opt.save, "model": lambda path: nn.save(path, model)}
for name, save in saves.items():
    save(f"{sys.argv[1]}/{name}")
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
for name, save in saves.items():
    try:
        save(f"{sys.argv[1]}/{name}")
    except OSError as error:
        print(name, "OSError", "too large" in str(error).lower())
"""


@needs_safetensors
@pytest.mark.skipif(sys.platform != "linux", reason="sets a memory limit, which works only on Linux")
def test_save_on_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """The full disk is simulated: the process may write at most 50,000 bytes to each file."""
    done = python(LIMITED_FILES, tmp_path)
    assert done.stdout.split() == ["state", "OSError", "True", "model", "OSError", "True"], done.stderr
    assert sorted(os.listdir(tmp_path)) == ["model", "state"]
    fs.Adam([np.ones(100_000)]).load(tmp_path / "state")
    assert nn.load(tmp_path / "model").task == "regression"


FULL_DISK = """
import resource, sys
from fusedstep.cli import main
from sklearn.datasets import load_digits
import matplotlib.figure
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
sys.exit(main(["train", "--epochs", "1", "--out", sys.argv[1]]))
"""


@needs_safetensors
@pytest.mark.skipif(sys.platform != "linux", reason="sets a memory limit, which works only on Linux")
def test_train_command_on_a_full_disk_prints_one_line_and_leaves_the_old_model(tmp_path: Path) -> None:
    """The full disk is simulated: the process may write at most 4,000 bytes to each file. The exit status is 2."""
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    (tmp_path / "model.safetensors").write_text("the old model")
    done = python(FULL_DISK, tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("fusedstep train: File too large"), done.stderr
    assert done.stderr.count("\n") == 1
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.read_text() for path in files if path.name == "model.safetensors"] == ["the old model"]
    assert not [path for path in files if path.name.endswith(".tmp")]


@needs_safetensors
def test_save_into_a_folder_without_write_permission_raises_oserror_and_changes_nothing(tmp_path: Path) -> None:
    """The test tries to save an optimizer and a model. The old file in the folder keeps its content."""
    opt = fs.Adam([np.ones(3)])
    model = nn.TrainedModel(nn.Sequential(nn.Linear(1, 1)), "regression", np.zeros(1), np.ones(1))
    read_only = tmp_path / "fixed"
    read_only.mkdir()
    (read_only / "state").write_text("old")
    read_only.chmod(0o500)
    folders = ["/proc"] if sys.platform == "linux" else []  # even root cannot create files in /proc
    if getattr(os, "geteuid", lambda: 1)():  # root may write into any folder
        folders.append(str(read_only))
    try:
        for folder in folders:
            for save in (opt.save, lambda path: nn.save(path, model)):
                with pytest.raises(OSError):
                    save(f"{folder}/state")
        assert os.listdir(read_only) == ["state"]
        assert (read_only / "state").read_text() == "old"
    finally:
        read_only.chmod(0o700)


LIMITED_MEMORY = """
import resource, sys
import numpy as np
import fusedstep as fs
opt = fs.Adam({"w": np.ones(5_000_000)}, ema_decay=0.9)
opt.step([np.ones(5_000_000)])
opt.save(sys.argv[1])
opt.step([np.ones(5_000_000)])
own = [opt.params["w"], opt.ema["w"], *opt.state["w"].values()]
before = [a.sum() for a in own], opt.steps
with open("/proc/self/statm") as statm:
    pages = int(statm.read().split()[0])
for spare in (0, 1, 10, 50, 130):  # MiB
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (spare << 20), -1))
    for act in (lambda: opt.load(sys.argv[1]), opt.state_dict):
        try:
            act()
            print(spare, "done")
        except (MemoryError, OSError, ValueError) as error:
            print(spare, type(error).__name__)
        assert ([a.sum() for a in own], opt.steps) == before
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
opt.load(sys.argv[1])
assert opt.steps == 1
"""


@needs_safetensors
@pytest.mark.skipif(sys.platform != "linux", reason="uses Linux's memory limit and its /proc folder")
def test_state_dict_and_load_raise_an_error_and_change_nothing_if_memory_is_short(tmp_path: Path) -> None:
    done = python(LIMITED_MEMORY, tmp_path / "state")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "MemoryError" in done.stdout and "done" not in done.stdout


LIMITED_CONSTRUCTION = """
import resource
import numpy as np
import fusedstep as fs
fs.batch_norm, fs.optim.registry, fs.dropout  # loaded before memory is short
p, x = np.ones(5_000_000), np.ones((50_000, 100))
makes = {cls.__name__: lambda cls=cls: cls([p], ema_decay=0.9) for cls in fs.optim.registry.values()}
makes["dropout"] = lambda: fs.dropout(x, 0.5, fs.Key(1))
makes["batch_norm"] = lambda: fs.batch_norm(x)
def pages():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0])
fs.set_num_threads(1)  # more threads would need memory
before = pages()
for spare in (0, 30, 50, 90):  # MiB
    resource.setrlimit(resource.RLIMIT_AS, (before * resource.getpagesize() + (spare << 20), -1))
    for name, make in makes.items():
        try:
            make()
            print(spare, name)
        except MemoryError:
            pass
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    assert (pages() - before) * resource.getpagesize() < 4 << 20, "incomplete objects still hold memory"
assert (p == 1).all() and (x == 1).all()
for make in makes.values():
    make()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="uses Linux's memory limit and its /proc folder")
def test_constructor_that_fails_for_lack_of_memory_frees_its_arrays() -> None:
    """The test makes every optimizer and calls `dropout` and `batch_norm`, with 0, 30, 50 and 90 MiB of free memory.

    Each array takes 38 MiB, so all calls fail with 0 and 30 MiB. Adam needs three arrays (two states and the average),
    so it fails even with 90 MiB. After the calls, the process must be less than 4 MiB larger than before.
    """
    done = python(LIMITED_CONSTRUCTION)
    assert done.returncode == 0, done.stderr + done.stdout
    made = [line.split() for line in done.stdout.splitlines()]
    assert {int(spare) for spare, _ in made} <= {50, 90}, made
    assert "Adam" not in {name for _, name in made}, made


def test_parameters_of_an_optimizer_cannot_be_resized_or_closed_while_it_exists(tmp_path: Path) -> None:
    """NumPy and Python refuse to free the memory, because the optimizer has references to the arrays.

    While an array is read-only, `step` refuses it and changes nothing.
    """
    own = np.ones(100)
    mapped = np.memmap(tmp_path / "file", np.float64, "w+", shape=100)
    memory = shared_memory.SharedMemory(create=True, size=800)
    shared = np.ndarray(100, np.float64, memory.buf)
    opt = fs.Adam([own, mapped, shared])
    g = [np.ones(100)] * 3
    opt.step(g)
    with pytest.raises(ValueError, match="cannot resize"):
        own.resize(10)
    with pytest.raises(BufferError):
        mapped._mmap.close()
    with pytest.raises(BufferError):
        memory.close()
    opt.step(g)
    before = [a.tobytes() for a in opt.params]
    for k, a in enumerate((own, mapped, shared)):
        a.setflags(write=False)
        with pytest.raises(ValueError, match=rf"params\[{k}\] must be writeable; got a read-only"):
            opt.step(g)
        a.setflags(write=True)
        assert [a.tobytes() for a in opt.params] == before
    del own, mapped, shared, a
    opt.step(g)  # the optimizer keeps the arrays alive
    del opt
    memory.close()
    memory.unlink()


@every_class
def test_a_deleted_optimizer_is_freed_at_once(cls: Any) -> None:
    """An assignment to a group of the deleted optimizer raises an error."""
    opt = cls([np.ones(3)], ema_decay=0.5)
    group, state = opt.groups[0], weakref.ref(next(iter(opt._state.values()), {}).get("momentum_buffer", opt._ema[0]))
    opt.step([np.ones(3)])
    assert state() is not None
    del opt
    assert state() is None
    with pytest.raises(ReferenceError, match="the optimizer of this group no longer exists"):
        group["lr"] = 0.5
