"""Processes of torch.distributed for tests.

Each process is kept and runs many functions, because every new process needs time to import torch.
"""

from __future__ import annotations

import datetime
import multiprocessing
import os
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

PATIENCE = 300.0  # limit for one function, in seconds; it is long, because processes may be slow on a busy machine
COLLECTIVE = datetime.timedelta(seconds=120)  # limit for one collective operation


class World:
    """A group of processes with the backend gloo. Each process is one rank. `run` calls a function in all of them."""

    def __init__(self, size: int) -> None:
        self.size = size
        context = multiprocessing.get_context("spawn")
        handle, store = tempfile.mkstemp()
        os.close(handle)
        os.unlink(store)  # torch creates the file
        self._store = store
        self._pipes: list[Connection] = []
        self._processes = []
        for rank in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, rank, size, store), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call ``function(rank, size, *arguments)`` in each process, and return the list of results.

        Raises
        ------
        AssertionError
            If the function raises an error on any rank. The message contains all tracebacks. The processes are ended.
        """
        for pipe in self._pipes:
            pipe.send((function, arguments))
        answers = []
        for pipe in self._pipes:
            try:
                answers.append(pipe.recv() if pipe.poll(PATIENCE) else (False, "no answer"))
            except EOFError:
                answers.append((False, "the process has ended"))
        wrong = [f"rank {rank}:\n{answer}" for rank, (fine, answer) in enumerate(answers) if not fine]
        if wrong:
            self.end()
            raise AssertionError("\n".join(wrong))
        return [answer for _, answer in answers]

    @property
    def alive(self) -> bool:
        """True if all processes are running."""
        return all(process.is_alive() for process in self._processes)

    def end(self) -> None:
        """End the processes."""
        for process, pipe in zip(self._processes, self._pipes, strict=True):
            process.kill()
            process.join()
            pipe.close()
        if os.path.exists(self._store):
            os.unlink(self._store)


def _serve(pipe: Connection, rank: int, size: int, store: str) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank))
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size, timeout=COLLECTIVE)
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = True, function(rank, size, *arguments)
        except BaseException:
            answer = False, traceback.format_exc()
        pipe.send(answer)


_worlds: dict[int, World] = {}


def world_of(size: int) -> World:
    """Return the world with this number of processes. If there is none, or one of its processes has ended, make it."""
    if size not in _worlds or not _worlds[size].alive:
        _worlds[size] = World(size)
    return _worlds[size]


def end_worlds() -> None:
    """End the processes of all worlds."""
    for world in _worlds.values():
        if world.alive:
            world.end()
    _worlds.clear()
