"""The command ``fusedstep``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .._base.names import shown as _shown

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    The exit status is 0 after success. It is 2 after a mistake of the user, an error of the operating system or a lack
    of memory. It is 1 if the training of ``fusedstep train`` has diverged, or if a measurement of fusedstep in
    ``fusedstep bench`` has failed, for example because fusedstep's result was wrong. It is 130 after Ctrl-C, and
    141 if the reader of the output has closed the pipe.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments, without the program's name. The default is the arguments of the process.
    """
    from .._base.optional import MissingPackage
    from ..tables.errors import TableError
    from ._errors import BROKEN_PIPE, INTERRUPTED, UsageError

    words = list(sys.argv[1:] if argv is None else argv)
    command = "fusedstep"
    try:
        from ._options import build_parser

        args = build_parser().parse_args(words)
        command, args.words = f"fusedstep {args.command}", ["fusedstep", *words]
        return _run(args)
    except (UsageError, TableError, MissingPackage) as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 2
    except (
        BrokenPipeError
    ):  # the reader has closed the pipe. stdout is replaced, so that the interpreter's last flush does not fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except MemoryError as error:
        print(f"{command}: not enough memory: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{command}: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
        return INTERRUPTED


def _run(args: argparse.Namespace) -> int:
    """Run the command of the parsed arguments."""
    from . import _compare, _train, bench, doctor, evaluate, predict

    if getattr(args, "threads", None) is not None:
        from .. import set_num_threads

        set_num_threads(args.threads)
    commands = {
        "train": _train.run,
        "compare": _compare.run,
        "doctor": doctor.run,
        "bench": bench.run,
        "predict": predict.run,
        "evaluate": evaluate.run,
    }
    return commands[args.command](args)


if not TYPE_CHECKING:
    _, __getattr__, __dir__ = _shown(globals(), __all__)
