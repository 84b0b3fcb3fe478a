"""
Narrow parameters and states
============================

.. code-block:: text

    nearest:     v <- round(v + 0.001 (g^2 - v))    bfloat16 has 8 bits: a change below v / 512 is always lost
    stochastic:  v is rounded up with the probability that keeps the mean; no change is lost on average
    low bits:    parameter = upper 16 bits, state = lower 16 bits; together they are the float32

Does training with fewer bytes reach float32's loss? AdamW trains a network on the digits and a character-level
transformer on the docstrings of Python's standard library, each in nine formats. Runs that share a seed begin with
the same weights and use the same batches. ``python -m bench.widths`` runs the trainings in about eight minutes of one
core. This page draws the stored results of that command.

The margin was stated before the run. The mean difference to float32 must be at most 1%. It must not be above zero by
more than two standard errors. Both conditions must hold in training and on held-out data.
"""

import json
from pathlib import Path

import numpy as np
import shared
from shared import SEEDS, interval, subplots

kept = json.loads(Path(shared.__file__).parents[2].joinpath("bench", "results", "widths.json").read_text("utf-8"))
names = [name for name in kept["losses"]["text"] if name != "float32"]


def differences(model, name, measure):
    """Return the differences to float32, one for each seed, as shares of float32's mean loss."""
    losses, reference = (np.array(kept["losses"][model][key][measure]) for key in (name, "float32"))
    assert len(losses) == len(reference) >= len(SEEDS)
    return (losses - reference) / reference.mean()


def keeps_margin(model, name):
    """Return whether a format is within the margin, in training and on held-out data."""
    runs = [differences(model, name, measure) for measure in ("train", "held_out")]
    error = [run.std(ddof=1) / np.sqrt(len(run)) for run in runs]
    return all(abs(run.mean()) <= 0.01 and run.mean() <= 2 * e for run, e in zip(runs, error, strict=True))


panels = subplots(2, size=(8.0, 4.2))
for axes, model in zip(panels, ("digits", "text"), strict=True):
    axes.axvspan(-1, 1, color="0.92")
    axes.axvline(0, color="0.5", linewidth=0.8)
    for place, name in enumerate(reversed(names)):
        for measure, shift, color in (("train", 0.12, "C0"), ("held_out", -0.12, "C1")):
            value = interval(100 * differences(model, name, measure))
            style = {"fmt": "o", "capsize": 3, "markersize": 4, "color": color}
            label = measure.replace("_", "-") if place == 0 else None
            axes.errorbar(value.mean, place + shift, xerr=value.half, label=label, **style)
    runs = len(kept["losses"][model]["float32"]["train"])
    axes.set(xlabel="loss against float32, %", title=f"{model}, {runs} seeds")
panels[0].set_yticks(range(len(names)), names[::-1])
panels[1].set_yticks(range(len(names)), [])
_ = panels[1].legend()

# %%
# The grey band is 1% wide on each side of zero. The table shows each difference, and whether it is within the margin.

for model in ("digits", "text"):
    for name in names:
        train, held_out = (interval(differences(model, name, measure)) for measure in ("train", "held_out"))
        verdict = "within" if keeps_margin(model, name) else "OUTSIDE"
        print(f"{model:6} {name:35} train {train:+.2%}, held-out {held_out:+.2%}: {verdict}")

# %%
# No format with rounding to nearest keeps the margin. bfloat16 parameters lose the updates that are smaller than half
# of their last digit. Their loss is more than 1% higher. A v of bfloat16 cannot decay, because a step lowers it by at
# most 0.001 of its value. This is less than half of its last digit. The loss is higher, but by less than 1%. A v of 8
# bits stops growing early. Therefore the steps are too long. Here the learning rate is below the best one, and the
# longer steps lower the loss. But these are no longer the steps of AdamW at this rate.
#
# bfloat16 states and 8-bit states keep the margin if they are rounded stochastically. bfloat16 parameters with low bits
# keep it too, both with float32 states and with 8-bit states. bfloat16 parameters without low bits stay within 1% if
# they are rounded stochastically. On the digits they are not within two standard errors: their loss is slightly higher.
#
# sqrt(v) at the end of the runs on the digits shows the cause. The table divides it by sqrt(v) of float32 (median of
# the elements):

size = {name: interval(ratios) for name, ratios in kept["size_of_v"].items()}
for name, ratio in size.items():
    print(f"{name:35} sqrt(v) / sqrt(v) of float32: {ratio:.2f}")
assert size["bfloat16 states, nearest"].low > 1.1 and size["8-bit states, nearest"].high < 0.8
assert all(abs(size[name].mean - 1) < 0.05 for name in size if "stochastic" in name)

weak = [name for name in names if "nearest" in name]
kept_bits = [name for name in names if "low bits" in name]
narrow = [name for name in names if "states, stochastic" in name]
for model in ("digits", "text"):
    assert not any(keeps_margin(model, name) for name in weak)
    assert all(keeps_margin(model, name) for name in narrow + kept_bits)
    for measure in ("train", "held_out"):
        found = {name: interval(differences(model, name, measure)) for name in names}
        assert found["bfloat16 parameters, nearest"].low > 0.01
        assert found["bfloat16 states, nearest"].low > 0 and found["bfloat16 states, nearest"].high < 0.01
        assert found["8-bit states, nearest"].high < -0.01
        assert all(abs(found[name].mean) + found[name].half < 0.01 for name in narrow + kept_bits)
        assert abs(found["bfloat16 parameters, stochastic"].mean) < 0.01
assert not keeps_margin("digits", "bfloat16 parameters, stochastic")
