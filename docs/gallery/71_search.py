"""Grid, random, coordinate and multi-resolution search.

    grid: all pairs of values       random: log(value) ~ U(log low, log high)      coordinate descent: one at a time
    multi-resolution: a coarse grid, then one of half the spacing about the best point

The lowest validation loss in {budget} trials of rate and weight decay: {grid:.3f} by the grid, which tries 5 rates,
{random:.3f} by random search, which tries {budget}, {coordinate:.3f} by coordinate descent and {multi:.3f} by the
multi-resolution grid.

Checked: `max(grid, random, coordinate, multi) < 1.5 * min(grid, random, coordinate, multi)`
"""

import numpy as np
import optuna
from gallery import load, mlp, picture, training

import fusedstep as fs
from fusedstep.search import CoordinateDescentSampler, MultiResolutionGridSampler

BUDGET, LOW, HIGH = 25, (1e-6, 1e-4), (1.0, 1.0)
GRID = {name: list(np.geomspace(LOW[i], HIGH[i], 5)) for i, name in enumerate(("lr", "decay"))}
SPACE = {name: optuna.distributions.FloatDistribution(LOW[i], HIGH[i], log=True) for i, name in enumerate(GRID)}
SAMPLERS = {
    "grid": optuna.samplers.GridSampler(GRID, seed=0),
    "random": optuna.samplers.RandomSampler(seed=0),
    "coordinate": CoordinateDescentSampler({k: list(np.geomspace(v[0], v[-1], 17)) for k, v in GRID.items()}),
    "multi": MultiResolutionGridSampler(SPACE, points=3),
}


def loss_of(data, trial):
    """Return the loss on the rows kept for validation."""
    lr, decay = (trial.suggest_float(name, space.low, space.high, log=True) for name, space in SPACE.items())
    model, loss = mlp(64, 32, 10, rng=0), fs.nn.SoftmaxNLL()
    list(training(model, fs.AdamW(model.params, lr=lr, weight_decay=decay), data.x, data.y, epochs=15))
    return min(10.0, loss(model.predict(data.x_test), data.y_test))  # 10 also for nan


def main():
    """Draw where each search looked, and its best loss so far."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data, best = load("digits", 300), {"budget": BUDGET}
    with picture("71_search", 2) as (left, right), np.errstate(all="ignore"):
        for (name, sampler), marker in zip(SAMPLERS.items(), "s.x^", strict=True):
            study = optuna.create_study(sampler=sampler)
            study.optimize(lambda trial: loss_of(data, trial), n_trials=BUDGET)
            left.plot(
                *([t.params[p] for t in study.trials] for p in GRID), marker, markersize=5, fillstyle="none", label=name
            )
            right.plot(range(1, BUDGET + 1), np.minimum.accumulate([t.value for t in study.trials]))
            best[name] = study.best_value
        left.set(xlabel="learning rate", ylabel="weight decay", xscale="log", yscale="log")
        right.set(xlabel="trial", ylabel="lowest validation loss so far", ylim=(0.15, 0.6))
        left.figure.legend(loc="outside lower center", ncols=4)
    return best


if __name__ == "__main__":
    print(main())
