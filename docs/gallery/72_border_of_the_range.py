"""
A best value on the border of its range
=======================================

Two searches look for the best learning rate of a network that learns the digits. The first search tries rates in a
narrow range (low = 1e-5, high = 1e-3). The second search tries rates in a wide range (low = 1e-5, high = 1). After each
search, ``border_report`` warns if the best rate (best) lies on the border of its range. The position u of the best rate
in the range is 0 at low and 1 at high:

.. code-block:: text

    u = log(best / low) / log(high / low);        on the border if u <= tolerance or u >= 1 - tolerance

By default, tolerance is 0.02. The two searches are repeated on five splits of the data.
"""

import warnings

import numpy as np
import optuna
from shared import SEEDS, band, interval, load, mlp, subplots, training

import fusedstep as fs
from fusedstep import nn
from fusedstep.search import BorderWarning, border_report

RANGES = {"narrow": np.geomspace(1e-5, 1e-3, 7), "wide": np.geomspace(1e-5, 1.0, 16)}
optuna.logging.set_verbosity(optuna.logging.WARNING)


def search(rates, seed):
    """Try all rates on one split. Return the Optuna study and the warnings of `border_report`."""
    data, loss = load("digits", 300, seed), nn.SoftmaxNLL()

    def loss_of(trial):
        model = mlp(64, 32, 10, rng=seed)
        opt = fs.Adam(model.params, lr=trial.suggest_float("lr", rates[0], rates[-1], log=True))
        list(training(model, opt, data.x, data.y, epochs=15, seed=seed))
        return loss(model.predict(data.x_test), data.y_test)

    study = optuna.create_study(sampler=optuna.samplers.GridSampler({"lr": list(rates)}, seed=0))
    study.optimize(loss_of)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BorderWarning)
        border_report(study)
    return study, [str(warning.message) for warning in caught]


runs = {name: [search(rates, seed) for seed in SEEDS] for name, rates in RANGES.items()}
axes = subplots()
for (name, found), style in zip(runs.items(), ("o-", ".--"), strict=True):
    losses = [[t.value for t in sorted(study.trials, key=lambda t: t.params["lr"])] for study, _ in found]
    band(axes, RANGES[name], np.log10(losses), f"{name} range", marker=style[0], linestyle=style[1:])
axes.axvline(RANGES["narrow"][-1], color="0.4", linestyle=":", label="border of the narrow range")
axes.set(
    xlabel="learning rate", ylabel="log10 of the validation loss", xscale="log", title="Validation loss, five splits"
)
_ = axes.legend()

# %%
# On every split, the best rate in the narrow range is the largest rate of this range, and ``border_report`` warns. The
# best rate in the wide range lies inside the range, and its validation loss is far lower.

print(runs["narrow"][0][1][0])
lowest = {name: np.array([study.best_value for study, _ in found]) for name, found in runs.items()}
for name, values in lowest.items():
    print(f"{name} range: lowest validation loss {interval(values):.3f}")

assert all(len(messages) == 1 for _, messages in runs["narrow"])
assert not any(messages for _, messages in runs["wide"])
assert interval(lowest["narrow"] - 2 * lowest["wide"]).low > 0
