"""``fusedstep predict`` writes the predictions of a saved model for the rows of a table."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from .. import nn
from ._errors import UsageError
from ._predictions import Predictions, predict, write
from ._report import Screen
from ._saved import load_model, load_rows


def run(args: argparse.Namespace) -> int:
    """Read the rows, predict them, and write the predictions. Return 0."""
    screen, model = Screen(quiet=args.quiet), load_model(args.model)
    if args.mc_samples is not None and not any(isinstance(layer, nn.Dropout) for layer in model.model.layers):
        raise UsageError("--mc-samples needs a model with dropout: without dropout all samples are equal")
    rows = load_rows(model, args.data, with_target=False)
    out = Path(args.out or f"{rows.name.split('.')[0]}-predictions.csv")
    if out.is_dir() or not out.parent.is_dir():
        raise UsageError(f"--out must be a file in an existing folder; got {out}")
    said = predict(model, rows.inputs, args.mc_samples, args.seed)
    write(out, model, said, rows.names, rows.where)
    for note in rows.notes:
        screen.line(note)
    screen.facts("Predictions", [*_facts(model, said), ("predictions", str(out))])
    return 0


def _facts(model: nn.TrainedModel, said: Predictions) -> list[tuple[str, str]]:
    target = model.target_name or "target"
    if said.p is None:
        low, middle, high = np.percentile(said.found, [0, 50, 100])
        width = [("90 % interval", f"the prediction +- {model.error:.6g}")] if model.error is not None else []
        return [(target, f"{low:.6g} to {high:.6g}, median {middle:.6g}, of {len(said.found)} rows"), *width]
    names, counts = np.unique(said.found, return_counts=True)
    most = sorted(zip(counts.tolist(), names.tolist(), strict=True), key=lambda pair: -pair[0])[:12]
    return [
        (target, ", ".join(f"{name}: {count}" for count, name in most)),
        ("mean probability of the prediction", f"{said.p.max(axis=1).mean():.4f}"),
    ]
