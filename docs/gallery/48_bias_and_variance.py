"""
Bias and variance
=================

.. code-block:: text

    y: the target of a test row      f: the prediction of a network      E: the mean over random training sets
    E (y - f)^2 = (y - E f)^2 + E (f - E f)^2
        loss    =    bias     +   variance

The bias in this formula contains the noise of the targets. Networks with 1, 4, 16 and 64 hidden units learn the
diabetes data. For each number of hidden units, 8 networks are trained. Each of them has its own random training set: a
bootstrap sample, which is drawn from the training rows with replacement. The experiment is repeated on five splits of
the data into training rows and test rows.
"""

import numpy as np
from shared import SEEDS, band, interval, load, mlp, subplots, training

import fusedstep as fs
from fusedstep import inspect, nn

WIDTHS, ROUNDS = [1, 4, 16, 64], 8


def fit_with(width):
    """Return a function that trains a network with `width` hidden units."""

    def fit(x, y):
        model = mlp(10, width, 1, activation=nn.Tanh, rng=0)
        opt = fs.Adam(model.params, lr=0.01)
        list(training(model, opt, x, y[:, None], epochs=60, loss=nn.MeanSquaredError()))
        return model

    return fit


def run(seed):
    """Return three lists: the loss, the bias and the variance for every number of hidden units."""
    data = load("diabetes", seed=seed)
    rows = data.x, data.y[:, 0], data.x_test, data.y_test[:, 0]
    found = [inspect.bias_variance(fit_with(width), *rows, rounds=ROUNDS) for width in WIDTHS]
    return [[getattr(part, name) for part in found] for name in ("loss", "bias", "variance")]


runs = np.array([run(seed) for seed in SEEDS])  # axes: split, one of (loss, bias, variance), width
axes = subplots()
for i, name in enumerate(("loss", "bias", "variance")):
    band(axes, WIDTHS, runs[:, i], name, marker="o", markersize=4)
axes.set(xlabel="hidden units", ylabel="mean squared error, test rows", xscale="log", ylim=(0, None))
axes.set(title="Means over five splits of the data")
axes.set_xticks(WIDTHS, [str(width) for width in WIDTHS])
axes.minorticks_off()
_ = axes.legend()

# %%
# More hidden units raise the variance. On these data, more hidden units do not lower the bias, so one hidden unit is
# enough.

for width, parts in zip(WIDTHS, runs.transpose(2, 1, 0), strict=True):
    print(
        f"{width:2} units: loss {interval(parts[0]):.2f}, bias {interval(parts[1]):.2f}, "
        f"variance {interval(parts[2]):.2f}"
    )

bias, variance = runs[:, 1], runs[:, 2]
assert interval(variance[:, -1] - 2 * variance[:, 0]).low > 0
assert interval(bias[:, -1] - bias[:, 0]).low > -0.02
