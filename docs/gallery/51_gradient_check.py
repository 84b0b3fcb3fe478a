"""
Gradient check
==============

.. code-block:: text

    f: the loss      theta: the vector of all weights      e_i: unit vector i      h: the step      g: the gradient of f
    n_i = (f(theta + h e_i) - f(theta - h e_i)) / (2 h)
    error of a parameter = max_i |g_i - n_i| / max(max_i |g_i|, max_i |n_i|)
    a parameter is one array of weights; max_i is the maximum over its elements

The page compares the gradient g of a network with the central differences n. The network has batch normalisation and
dropout. The input is 40 rows of the wine data. Three gradients are checked: the correct gradient in float64, a gradient
in float64 with one mistake, and the correct gradient in float32. The check succeeds if all errors are below the
tolerance, 1e-7. The comparison is repeated with five seeds.
"""

import numpy as np
from shared import SEEDS, interval, load, subplots

import fusedstep as fs
from fusedstep import inspect, nn

ROWS, STEPS = 40, np.geomspace(1e-8, 1e-2, 7)


def network(dtype, seed):
    """Return a network with two hidden layers, batch normalisation and dropout."""
    hidden = [nn.Linear(13, 4, bias=False), nn.BatchNorm(), nn.Tanh(), nn.Dropout(0.2), nn.Linear(4, 4), nn.Sigmoid()]
    return nn.Sequential(*hidden, nn.Linear(4, 3), dtype=dtype, rng=seed)


def errors(seed):
    """Return the largest error of each of the three gradients, for every step h of the differences."""
    data, loss, model = load("wine", ROWS, seed), nn.SoftmaxNLL(), network(np.float32, seed)
    f = inspect.objective(network(np.float64, seed), loss, data.x, data.y, training=True)

    def mistaken(theta):
        value, gradient = f(theta)
        f.split(gradient)["4.bias"] /= ROWS  # the mistake: a second division by the number of rows
        return value, gradient

    def in_float32(theta):
        for i, layer in enumerate(model.layers):
            layer.sample(fs.Key(0).fold(i))
        model.arena[...] = theta
        value, dy = loss.value_and_gradient(model.forward(data.x, training=True), data.y)
        model.backward(dy)
        return value, model.grad_arena

    mistaken.shapes = in_float32.shapes = f.shapes  # with `shapes`, check_gradient computes an error for each parameter
    return [[inspect.check_gradient(g, f.theta, step=step).error for step in STEPS] for g in (f, mistaken, in_float32)]


runs = np.array([errors(seed) for seed in SEEDS])  # axes: seed, gradient, step
axes = subplots()
for i, label in enumerate(("correct, float64", "one mistake, float64", "correct, float32")):
    logs = interval(np.log10(runs[:, i]))
    axes.fill_between(STEPS, 10**logs.low, 10**logs.high, color=f"C{i}", alpha=0.2, linewidth=0)
    axes.plot(STEPS, 10**logs.mean, "o-", color=f"C{i}", markersize=4, label=label)
axes.axhline(1e-7, color="0.4", linestyle=":", label="tolerance")
axes.set(
    xlabel="step h of the differences", ylabel="largest relative error", xscale="log", yscale="log", title="Five seeds"
)
_ = axes.legend(loc="center left")

# %%
# For middle values of the step h, the error of the correct gradient in float64 is below the tolerance. If h is too
# large, the differences are not accurate. If h is very small, the two values of f are nearly equal, and their
# difference has few correct digits. With the mistake, the error is large at every h. float32 has too few digits for
# this check.

right, wrong, single = runs.min(axis=2).T
print(
    f"error at the best step h: at most {right.max():.0e} for the correct gradient in float64, "
    f"at least {wrong.min():.2f} with one mistake, at least {single.min():.0e} in float32"
)

assert right.max() < 1e-7
assert wrong.min() > 0.05
assert (single > 1e3 * right).all()
