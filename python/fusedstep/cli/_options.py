"""The options of the command line and their checks."""

from __future__ import annotations

import argparse
import ast
import difflib
import math
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from .. import __version__, nn, optim, schedules
from ..tables import SUFFIXES
from ._data import BUNDLED

ACTIVATIONS = tuple(nn.activations.registry)
TASKS = ("auto", "classification", "regression")
WIDTHS = ("float32", "bfloat16", "uint8")


class Parser(argparse.ArgumentParser):
    """A parser that reports an error as one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with status 2."""
        sys.stderr.write(f"{self.prog}: {message} (see {self.prog} --help)\n")
        raise SystemExit(2)


def number(low: float = 0.0, high: float = math.inf, *, open_low: bool = False) -> Callable[[str], float]:
    """Make a converter for a finite number in [low, high], or in (low, high] with ``open_low``."""
    sign = ">" if open_low else ">="
    need = f"a finite number {sign} {low:g}" + ("" if math.isinf(high) else f" and <= {high:g}")

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value > high or value < low or (open_low and value == low):
            raise argparse.ArgumentTypeError(f"must be {need}; got {text!r}")
        return value

    return convert


def integer(low: int, high: int | None = None) -> Callable[[str], int]:
    """Make a converter for an integer in [low, high]."""
    need = f"an integer >= {low}" + ("" if high is None else f" and <= {high}")

    def convert(text: str) -> int:
        try:
            value = (
                int(text) if text.isascii() and "_" not in text else low - 1
            )  # `int` accepts the digits of every script
        except ValueError:
            value = low - 1
        if value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"must be {need}; got {text!r}")
        return value

    return convert


def one_of(names: tuple[str, ...]) -> Callable[[str], str]:
    """Make a converter for names, in upper or lower case. The error message suggests the nearest name."""
    by_lower = {name.lower(): name for name in names}

    def convert(text: str) -> str:
        found = by_lower.get(text.lower().replace("-", "_"))
        if found is None:
            near = difflib.get_close_matches(text.lower(), by_lower, 1)
            hint = f" (did you mean {by_lower[near[0]]}?)" if near else ""
            raise argparse.ArgumentTypeError(f"must be one of {', '.join(names)}; got {text!r}{hint}")
        return found

    return convert


def listed(item: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """Make a converter for values separated by commas."""
    return lambda text: [item(part.strip()) for part in text.split(",")]


def hidden(text: str) -> list[int]:
    """Convert the sizes of the hidden layers, such as ``64,64``. ``none`` gives an empty list."""
    return [] if text.lower() == "none" else listed(integer(1, 65536))(text)


def keyword(text: str) -> tuple[str, Any]:
    """Convert ``name=value``. If the value is not a Python literal, it is a string."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"must be name=value; got {text!r}")
    try:
        return name, ast.literal_eval({"true": "True", "false": "False", "none": "None"}.get(value, value))
    except (ValueError, SyntaxError):
        return name, value


# One row per option: name, converter, default, placeholder of the value, help. `_add_rows` adds the default to help.
Row = tuple[str, Callable[[str], Any], Any, str, str]
NAMES = tuple(optim.registry)

BATCH_NORM = "use batch normalisation in every hidden layer; a last batch with only one row joins the batch before it"

QUIET: Row = ("--quiet", bool, False, "", "print errors only")
MASKS = integer(2, 10**9)

DATA: list[Row] = [
    ("--data", str, "digits", "NAME|FILE", f"{', '.join(BUNDLED)}, or a file ({', '.join(SUFFIXES)}, .npz)"),
    ("--target", str, None, "COLUMN", "the column to predict"),
    ("--drop", listed(str), [], "COLUMN,COLUMN", "columns to leave out"),
    ("--categorical", listed(str), [], "COLUMN,COLUMN", "columns to use as categories, even if they have numbers"),
    (
        "--numeric",
        listed(str),
        [],
        "COLUMN,COLUMN",
        "columns to use as numbers; cells that are no numbers are treated as missing",
    ),
    (
        "--task",
        one_of(TASKS),
        "auto",
        "TASK",
        "classification, regression, or auto: classification if the target has strings or few different integers",
    ),
    ("--split-seed", integer(0), 0, "N", "seed of the split into training, validation and test rows"),
]
NETWORK: list[Row] = [
    ("--hidden", hidden, [64, 64], "N,N", "sizes of the hidden layers, or none"),
    ("--activation", one_of(ACTIVATIONS), "relu", "NAME", ", ".join(ACTIVATIONS)),
    ("--batch-norm", bool, False, "", BATCH_NORM),
    ("--dropout", number(0, 0.99), 0.0, "P", "probability that an output of a hidden layer is set to 0 in training"),
    ("--dtype", one_of(("float32", "float64")), "float32", "DTYPE", "float32 or float64"),
]
TRAINING: list[Row] = [
    ("--lr", number(open_low=True), None, "X", "learning rate (default: depends on the optimizer)"),
    ("--schedule", one_of(schedules.NAMES), "cosine", "NAME", ", ".join(schedules.NAMES)),
    ("--warmup", integer(0), 0, "STEPS", "number of steps at the start in which the learning rate grows linearly"),
    ("--batch-size", integer(1), 32, "N", "rows per step"),
    (
        "--weight-decay",
        number(),
        None,
        "X",
        "strength of the decay of all weights except biases (default: depends on the optimizer)",
    ),
    (
        "--decay",
        one_of(("l2", "decoupled", "proximal")),
        None,
        "FORM",
        "form of the weight decay: l2, decoupled or proximal (default: depends on the optimizer)",
    ),
    ("--l1", number(), 0.0, "X", "strength of the L1 penalty on all weights except biases"),
    (
        "--clip-norm",
        number(open_low=True),
        None,
        "X",
        "largest norm of all gradients together; if the norm is larger, all gradients are scaled down",
    ),
    (
        "--state-dtype",
        one_of(WIDTHS),
        None,
        "DTYPE",
        f"dtype of the optimizer's states: {', '.join(WIDTHS)} (default: the dtype of the weights)",
    ),
    ("--ema", number(0, 1), None, "D", "evaluate and save an exponential average of the weights, with decay D"),
    ("--seed", integer(0), 0, "N", "seed of the initial weights, the dropout masks and the order of the rows"),
    ("--threads", integer(1, 65536), None, "N", "largest number of threads of the optimizer"),
    (
        "--class-weight",
        one_of(("none", "balanced")),
        "none",
        "WEIGHT",
        "none, or balanced: rows of rare classes get a larger weight",
    ),
    (
        "--out",
        str,
        "fusedstep-out",
        "DIR",
        "folder for the results; files of another run in this folder are moved to run-1, run-2, ...",
    ),
    QUIET,
]
DOCTOR: list[Row] = [
    ("--millions", number(0.001, 1000), 10.0, "N", "number of parameters of the timed step, in millions"),
    ("--params", number(1, 1e15), None, "N", "also show the memory of AdamW for N parameters, such as 7e9"),
    ("--import", listed(str), [], "NAME,NAME", "packages to import first, so that the report includes their libraries"),
    ("--threads", integer(1), None, "N", "largest number of threads of a step"),
]
BENCH: list[Row] = [
    (
        "--only",
        str,
        None,
        "PATTERN",
        "measure only the cases whose name contains or matches PATTERN, such as 'adam/*' (default: a small selection)",
    ),
    ("--minutes", number(open_low=True), 2.0, "M", "time limit of all cases together, in minutes"),
    ("--threads", integer(1), None, "N", "number of threads of each library (default: all that this process may use)"),
    (
        "--out",
        str,
        "fusedstep-bench",
        "DIR",
        "folder for results.json and speedup.png; files of another run are moved to run-1, run-2, ...",
    ),
]


PREDICT: list[Row] = [
    ("--mc-samples", MASKS, None, "K", "average over K dropout masks, and write an uncertainty per row"),
    ("--seed", integer(0), 0, "N", "seed of the dropout masks"),
    ("--out", str, None, "FILE", "file for the predictions (default: NAME-predictions.csv for data NAME.*)"),
    QUIET,
]
EVALUATE: list[Row] = [
    (
        "--out",
        str,
        None,
        "DIR",
        "folder for metrics.json, predictions.csv, a picture and report.html (default: write no files)",
    ),
    QUIET,
]


def lengths(epochs: int, patience: int) -> list[Row]:
    """Return the options for the length of a training. Their defaults differ between the commands."""
    stop = "stop after N epochs without a better validation loss; 0: do not stop early"
    return [
        ("--epochs", integer(1), epochs, "N", "passes over the training rows"),
        ("--patience", integer(0), patience, "N", stop),
    ]


def build_parser() -> Parser:
    """Make the parser of ``fusedstep``."""
    parser = Parser(prog="fusedstep", description="Train small networks with fused optimizer steps.")
    parser.add_argument("--version", action="version", version=f"fusedstep {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands.add_parser("train", help="train a multi-layer perceptron and save it"))
    compare = commands.add_parser("compare", help="train a network with every optimizer, and rank the optimizers")
    optimizers: Row = ("--optimizers", listed(one_of(NAMES)), list(NAMES), "NAME,NAME", "names of the optimizers")
    seeds: Row = (
        "--seeds",
        integer(1, 1000),
        1,
        "N",
        "train with N seeds (--seed, --seed + 1, ...), and rank the optimizers by their mean best validation loss",
    )
    _add_groups(compare, [optimizers, seeds, *lengths(epochs=30, patience=0), *TRAINING])
    predict = commands.add_parser("predict", help="predict the rows of a table with a saved model")
    _add_model(predict, "a table with the columns that the model was trained on")
    _add_rows(predict, PREDICT)
    evaluate = commands.add_parser("evaluate", help="score a saved model on rows whose target is known")
    _add_model(evaluate, "a table with the columns that the model was trained on, and the target")
    _add_rows(evaluate, EVALUATE)
    doctor = commands.add_parser("doctor", help="report what makes steps slow on this machine, and what to change")
    _add_rows(doctor, DOCTOR)
    bench = commands.add_parser("bench", help="measure fusedstep and the other installed libraries on this machine")
    _add_rows(bench, BENCH)
    return parser


def _add_train(train: argparse.ArgumentParser) -> None:
    optimizer: Row = ("--optimizer", one_of(NAMES), "AdamW", "NAME", ", ".join(NAMES))
    samples: Row = (
        "--mc-samples", MASKS, None, "K",
        "average over K dropout masks for the test rows, and write an uncertainty per row into predictions.csv",
    )  # fmt: skip
    again: Row = (
        "--resume", bool, False, "",
        "continue the run in --out with the options of that run; an option in this command, such as more --epochs, "
        "replaces the option of that run",
    )  # fmt: skip
    group = _add_groups(train, [optimizer, *lengths(epochs=60, patience=20), *TRAINING, samples, again])
    more = "any other argument of the optimizer, such as momentum=0.9; --set may be repeated"
    group.add_argument(
        "--set", type=keyword, action="append", default=[], metavar="NAME=VALUE", dest="extra", help=more
    )


def _add_model(parser: argparse.ArgumentParser, data: str) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model.safetensors that fusedstep train wrote")
    parser.add_argument("data", metavar="DATA", help=data)


def _add_groups(parser: argparse.ArgumentParser, training: list[Row]) -> argparse._ArgumentGroup:
    """Add all options in their groups. Return the last group."""
    for title, rows in (("data", DATA), ("network", NETWORK), ("training", training)):
        group = parser.add_argument_group(title)
        _add_rows(group, rows)
    return group


def _add_rows(group: argparse._ActionsContainer, rows: list[Row]) -> None:
    for name, convert, default, metavar, text in rows:
        if convert is bool:
            group.add_argument(name, action="store_true", help=text)
            continue
        shown = ",".join(map(str, default)) if isinstance(default, list) else default
        text = text if shown in (None, "") else f"{text} (default: {shown})"
        to: dict[str, Any] = {"dest": "imports"} if name == "--import" else {}
        group.add_argument(name, type=convert, default=default, metavar=metavar, help=text, **to)
