"""
Narrow parameters and states
============================

.. code-block:: text

    nearest:     v <- round(v + 0.001 (g^2 - v))    8 significant bits in bfloat16: a change below v / 512 is lost
    stochastic:  v is rounded up or down at random, so that the mean is exact; no change is lost on average
    low bits:    a float32 parameter w is stored in two parts: w rounded to bfloat16, and the lower 16 bits of w

g is the gradient. A state is an array that the optimizer keeps for a parameter, such as v, AdamW's average of the
squared gradients. With low bits, another state holds the lower 16 bits of w. The rounded number and these bits
together give exactly w. The page asks whether a training with parameters or states of fewer bytes reaches the loss of
float32. AdamW trains two models: a network on the digits ("digits"), and a character-level transformer on the
docstrings of Python's standard library ("text"). Each model is trained in float32 and in eight other formats. Runs with
the same seed begin with the same weights and use the same batches. The command ``python -m bench.widths`` runs all
trainings, and takes about eight minutes of one core. This page draws the stored results of this command.

A format is within the margin if its training loss and its loss on held-out data each meet two conditions. The
conditions were stated before the runs. They use the mean difference from the float32 loss of the same seed:

1. The mean difference is between -1% and 1% of the mean float32 loss.
2. The mean difference is at most two standard errors above zero. This condition limits only higher losses.
"""

import json
from pathlib import Path

import numpy as np
import shared
from shared import SEEDS, interval, subplots

kept = json.loads(Path(shared.__file__).parents[2].joinpath("bench", "results", "widths.json").read_text("utf-8"))
names = [name for name in kept["losses"]["text"] if name != "float32"]


def differences(model, name, measure):
    """Return, for each seed, the difference of the loss from float32, divided by the mean loss of float32."""
    losses, reference = (np.array(kept["losses"][model][key][measure]) for key in (name, "float32"))
    assert len(losses) == len(reference) >= len(SEEDS)
    return (losses - reference) / reference.mean()


def is_within_margin(model, name):
    """Return whether a format is within the margin for the loss on the training data and on held-out data."""
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
            label = {"train": "training", "held_out": "held-out data"}[measure] if place == 0 else None
            axes.errorbar(value.mean, place + shift, xerr=value.half, label=label, **style)
    runs = len(kept["losses"][model]["float32"]["train"])
    axes.set(xlabel="difference of the loss from float32, %", title=f"{model}, {runs} seeds")
panels[0].set_yticks(range(len(names)), names[::-1])
panels[1].set_yticks(range(len(names)), [])
_ = panels[1].legend()

# %%
# The grey band goes from -1% to 1%. The output shows the mean difference of each loss from float32, with half the width
# of its 95% interval after ±, and whether the format is within the margin.

for model in ("digits", "text"):
    for name in names:
        train, held_out = (interval(differences(model, name, measure)) for measure in ("train", "held_out"))
        verdict = "within the margin" if is_within_margin(model, name) else "OUTSIDE"
        print(f"{model:6} {name:35} training {train:+.2%}, held-out {held_out:+.2%}: {verdict}")

# %%
# The three formats with "nearest" in the name are outside the margin on both models:
#
# - bfloat16 parameters lose the updates that are smaller than half the distance to the next bfloat16 number. The
#   losses are more than 1% higher than with float32.
# - In bfloat16 states, v cannot decay: a step lowers v by at most 0.001 v, which is less than half the distance to the
#   next bfloat16 number. The loss is less than 1% higher than with float32, but the difference breaks condition 2.
# - In 8-bit states, v stops growing early. A smaller v makes longer steps. In these trainings, the learning rate is
#   below the best learning rate, so longer steps lower the loss by more than 1%. This breaks condition 1, which also
#   limits lower losses.
#
# States that are rounded stochastically are within the margin, in bfloat16 and in 8 bits. bfloat16 parameters with low
# bits are within the margin too, with float32 states and with 8-bit states. bfloat16 parameters that are rounded
# stochastically and have no low bits meet condition 1. But on the digits, their training loss is higher than with
# float32 by more than two standard errors, which breaks condition 2.
#
# The sizes of sqrt(v) explain why states that are rounded to nearest fail. A larger sqrt(v) makes shorter steps. For
# each format of the states, the output shows sqrt(v) divided by the sqrt(v) of float32, at the end of the trainings on
# the digits (median of the elements):

size = {name: interval(ratios) for name, ratios in kept["size_of_v"].items()}
for name, ratio in size.items():
    print(f"{name:35} sqrt(v) / (sqrt(v) of float32): {ratio:.2f}")
assert size["bfloat16 states, nearest"].low > 1.1 and size["8-bit states, nearest"].high < 0.8
assert all(abs(size[name].mean - 1) < 0.05 for name in size if "stochastic" in name)

weak = [name for name in names if "nearest" in name]
kept_bits = [name for name in names if "low bits" in name]
narrow = [name for name in names if "states, stochastic" in name]
for model in ("digits", "text"):
    assert not any(is_within_margin(model, name) for name in weak)
    assert all(is_within_margin(model, name) for name in narrow + kept_bits)
    for measure in ("train", "held_out"):
        found = {name: interval(differences(model, name, measure)) for name in names}
        assert found["bfloat16 parameters, nearest"].low > 0.01
        assert found["bfloat16 states, nearest"].low > 0 and found["bfloat16 states, nearest"].high < 0.01
        assert found["8-bit states, nearest"].high < -0.01
        assert all(abs(found[name].mean) + found[name].half < 0.01 for name in narrow + kept_bits)
        assert abs(found["bfloat16 parameters, stochastic"].mean) < 0.01
assert not is_within_margin("digits", "bfloat16 parameters, stochastic")
