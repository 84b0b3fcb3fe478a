"""The command in a separate process: with captured output, with Ctrl-C, in a terminal, and with a closed pipe."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fusedstep import nn

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")
pytest.importorskip("rich")
pytest.importorskip("matplotlib")

COMMAND = [sys.executable, "-m", "fusedstep.cli"]


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_train_without_options_learns_the_digits_data() -> None:
    """The run takes less than 15 seconds, prints fewer than 40 lines of ASCII text, and draws the learning curves."""
    started = time.perf_counter()
    done = subprocess.run([*COMMAND, "train"], capture_output=True, text=True, timeout=60)
    elapsed = time.perf_counter() - started
    assert done.returncode == 0 and done.stderr == ""
    assert elapsed < 15
    found = re.search(r"test accuracy: ([0-9.]+) on 359 rows held out", done.stdout)
    assert found and float(found[1]) >= 0.97
    lines = done.stdout.splitlines()
    assert lines[0] == "digits: 1797 rows (1258 training, 180 validation, 359 test), 64 features, 10 classes"
    assert len(lines) < 40 and done.stdout.isascii() and "\x1b" not in done.stdout
    assert Path("fusedstep-out/curves.png").stat().st_size > 20_000


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_ctrl_c_keeps_the_best_model_and_exits_130() -> None:
    command = [*COMMAND, "train", "--epochs", "1000", "--patience", "0", "--data", "digits"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout and run.stderr
        for line in run.stdout:
            if "epoch 100/" in line:
                break
        run.send_signal(signal.SIGINT)
        out, err = run.stdout.read(), run.stderr.read()
    assert run.returncode == 130 and err == ""
    assert "interrupted: at step" in out
    assert nn.load("fusedstep-out/model.safetensors").task == "classification"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_output_in_a_terminal_has_a_progress_bar_and_a_table() -> None:
    import pty

    main_end, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    command = [*COMMAND, "train", "--data", "iris", "--epochs", "20"]
    with subprocess.Popen(command, stdout=terminal, stderr=subprocess.PIPE, env=environment) as run:
        os.close(terminal)
        chunks = []
        try:
            while chunk := os.read(main_end, 4096):
                chunks.append(chunk)
        except OSError:  # Linux raises this error if the other end is closed
            pass
        os.close(main_end)
        assert run.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", b"".join(chunks).decode())
    assert re.search(r"━+ +100% loss \d\.\d+  val accuracy \d\.\d+  [\d,]+ steps/s", text)
    assert re.search(r"│ test accuracy +│ \d\.\d{4} on 30 rows held out", text)


def test_output_into_a_closed_pipe_prints_no_traceback() -> None:
    """The status is 141: 128 plus the number of the signal SIGPIPE."""
    with subprocess.Popen([*COMMAND, "train"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout and run.stderr
        run.stdout.readline()
        run.stdout.close()
        assert run.stderr.read() == ""
    assert run.returncode == 141


def test_import_of_the_package_imports_no_optional_package() -> None:
    code = "import sys, fusedstep.cli, fusedstep.nn, fusedstep.schedules; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"sklearn", "rich", "matplotlib", "safetensors", "torch", "scipy"}
