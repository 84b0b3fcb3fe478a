"""
Grid, random, coordinate and multi-resolution search
====================================================

The page compares four searches for a learning rate and a weight decay. A trial is one training with one learning rate
and one weight decay. The result of a trial is the validation loss, which is computed on rows that are not used for
training. Each search has 25 trials on each of five splits of the data. In the formula of the random search, low and
high are the ends of the range of a hyperparameter.

.. code-block:: text

    grid: all pairs of values       random: log(value) ~ U(log low, log high)
    coordinate descent: only one hyperparameter changes at a time
    multi-resolution: a coarse grid, then finer grids around the best point so far; each finer grid halves the spacing
"""

import numpy as np
import optuna
from shared import SEEDS, band, interval, load, mlp, subplots, training

import fusedstep as fs
from fusedstep.search import CoordinateDescentSampler, MultiResolutionGridSampler

BUDGET, LOW, HIGH = 25, (1e-6, 1e-4), (1.0, 1.0)
GRID = {name: list(np.geomspace(LOW[i], HIGH[i], 5)) for i, name in enumerate(("lr", "decay"))}
FINE = {name: list(np.geomspace(values[0], values[-1], 17)) for name, values in GRID.items()}
SPACE = {name: optuna.distributions.FloatDistribution(LOW[i], HIGH[i], log=True) for i, name in enumerate(GRID)}
SAMPLERS = {
    "grid": lambda seed: optuna.samplers.GridSampler(GRID, seed=seed),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "coordinate": lambda seed: CoordinateDescentSampler(FINE),
    "multi-resolution": lambda seed: MultiResolutionGridSampler(SPACE, points=3),
}
optuna.logging.set_verbosity(optuna.logging.WARNING)


def search(make, seed):
    """Return the Optuna study of one search on one split. `make(seed)` returns the sampler of the search."""
    data, loss = load("digits", 300, seed), fs.nn.SoftmaxNLL()

    def loss_of(trial):
        lr, decay = (trial.suggest_float(name, space.low, space.high, log=True) for name, space in SPACE.items())
        model = mlp(64, 32, 10, rng=seed)
        opt = fs.AdamW(model.params, lr=lr, weight_decay=decay)
        list(training(model, opt, data.x, data.y, epochs=15, seed=seed))
        return min(10.0, loss(model.predict(data.x_test), data.y_test))  # nan and losses above 10 become 10

    study = optuna.create_study(sampler=make(seed))
    study.optimize(loss_of, n_trials=BUDGET)
    return study


with np.errstate(all="ignore"):
    studies = {name: [search(make, seed) for seed in SEEDS] for name, make in SAMPLERS.items()}
best = {n: [np.minimum.accumulate([t.value for t in study.trials]) for study in found] for n, found in studies.items()}
left, right = subplots(2)
for (name, found), marker in zip(studies.items(), "s.x^", strict=True):
    places = ([t.params[p] for t in found[0].trials] for p in GRID)
    left.plot(*places, marker, markersize=5, fillstyle="none", label=name)
    band(right, range(1, BUDGET + 1), best[name])
left.set(xlabel="learning rate", ylabel="weight decay", xscale="log", yscale="log", title="All trials, first split")
right.set(xlabel="trial", ylabel="lowest validation loss so far", ylim=(0.15, 0.8), title="Lowest loss, five splits")
_ = left.figure.legend(loc="outside lower center", ncols=4)

# %%
# The printed text shows the lowest validation loss of each search, and the relative difference from the lowest loss of
# the grid search on the same split. With 25 trials and two hyperparameters, no search is measurably better or worse
# than the grid search on these data.

last = {name: np.array([curve[-1] for curve in curves]) for name, curves in best.items()}
for name, values in last.items():
    print(
        f"{name}: lowest loss {interval(values):.3f}, difference from grid {interval(values / last['grid'] - 1):+.1%}"
    )

for values in (found for name, found in last.items() if name != "grid"):
    difference = interval(values / last["grid"] - 1)
    assert difference.low < 0 < difference.high and abs(difference.mean) < 0.1
