"""
Loss landscapes
===============

.. code-block:: text

    plane: f(theta + a d1 + b d2)        d1 and d2: random directions, scaled to the norms of the weights theta
    line:  f(theta + a (theta' - theta))

The loss f depends on the weights theta. The page shows f around a network that was trained on 300 digits. In d1 and d2,
the components of each unit are scaled to the norm of this unit's weights in theta. The page also shows f on straight
lines, for example between the solutions theta and theta' of two seeds.
"""

import numpy as np
from shared import SEEDS, band, interval, load, mlp, subplots, training

import fusedstep as fs
from fusedstep import inspect, nn


def learn(data, *widths, seed):
    """Return the loss as a function of the weights, the initial weights, and the trained weights."""
    model = mlp(*widths, rng=seed)
    first = model.arena.astype(np.float64)
    opt = fs.SGD(model.params, lr=0.1, momentum=0.9, weight_decay=1e-3)
    list(training(model, opt, data.x, data.y, epochs=60, seed=seed))
    f = inspect.objective(model, nn.SoftmaxNLL(), data.x, data.y)
    return f, first, f.theta


def lines(seed):
    """Return the loss on three lines: from the initial weights, to another seed, and without a hidden layer."""
    data = load("digits", 300, seed)
    f, first, theta = learn(data, 64, 32, 10, seed=seed)
    _, _, other = learn(data, 64, 32, 10, seed=seed + 100)
    g, linear_first, linear = learn(data, 64, 10, seed=seed)
    return (
        inspect.line(f, theta - first, span=(-1, 0)),
        inspect.line(f, other - theta, span=(0, 1)),
        inspect.line(g, linear - linear_first, span=(-1, 1)),
    )


runs = [lines(seed) for seed in SEEDS]
left, middle, right = subplots(3, size=(10.0, 3.6))
f, _, theta = learn(load("digits", 300, 0), 64, 32, 10, seed=0)
inspect.plane(f, *(inspect.random_direction(f, fs.Key(seed)) for seed in (1, 2))).plot(left, log=True)
left.set(title="Around one solution")
for i, label in enumerate(("from the initial weights (-1)", "to another seed's weights (1)")):
    band(middle, runs[0][i].at, [found[i].values for found in runs], label)
middle.set(xlabel="step along the line", ylabel="loss", ylim=(0, 3), title="With a hidden layer: a ridge")
middle.legend(loc="upper right")
band(right, runs[0][2].at, [found[2].values for found in runs])
right.set(xlabel="step along the line", ylabel="loss", ylim=(0, 3), title="Without a hidden layer: convex")

# %%
# The trained weights are at step 0 of each line. The loss falls from the initial weights to the trained weights. The
# loss has a ridge between the solutions of two seeds. Therefore the loss of a network with a hidden layer is not
# convex. The loss of a network without a hidden layer is convex along its line. The axes of the two line plots are
# linear, because a logarithmic axis does not show convexity.

ridge = np.array([between.values.max() for _, between, _ in runs])
ends = np.array([max(between.values[0], between.values[-1]) for _, between, _ in runs])
print(f"height of the ridge {interval(ridge):.2f}, loss at its ends {interval(ends):.3f}")
print(
    "convex without a hidden layer:",
    [bool(straight.is_convex()) for *_, straight in runs],
    "convex between two solutions with a hidden layer:",
    [bool(between.is_convex()) for _, between, _ in runs],
)

assert interval(ridge - 10 * ends).low > 0
assert all(straight.is_convex() for *_, straight in runs)
assert not any(between.is_convex() for _, between, _ in runs)
