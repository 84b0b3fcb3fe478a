"""
Loss landscapes
===============

The loss f of a network is a function of its weights. The network learns 300 images of digits. theta_0 are its initial
weights, and theta are its trained weights. theta' are weights that were trained with another seed. The page shows f
on a plane and on straight lines through theta:

.. code-block:: text

    plane: f(theta + a d1 + b d2)        d1 and d2: random directions
    line:  f(theta + a d)                d = theta - theta_0 or d = theta' - theta

a and b are numbers from -1 to 1. d1 is scaled separately for each unit of the network: the part of d1 that belongs to
the unit's weights gets the same norm as the unit's weights in theta. d2 is scaled in the same way.
"""

import numpy as np
from shared import SEEDS, band, interval, load, mlp, subplots, training

import fusedstep as fs
from fusedstep import inspect, nn


def learn(data, *widths, seed):
    """Train a network. Return three results: the function f(theta), the initial weights and the trained weights."""
    model = mlp(*widths, rng=seed)
    first = model.arena.astype(np.float64)
    opt = fs.SGD(model.params, lr=0.1, momentum=0.9, weight_decay=1e-3)
    list(training(model, opt, data.x, data.y, epochs=60, seed=seed))
    f = inspect.objective(model, nn.SoftmaxNLL(), data.x, data.y)
    return f, first, f.theta


def lines(seed):
    """Return the loss on three lines through trained weights. The network of the last line has no hidden layer."""
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
left.set(title="Plane through the trained weights")
for i, label in enumerate(("initial weights at a = -1", "another seed's weights at a = 1")):
    band(middle, runs[0][i].at, [found[i].values for found in runs], label)
middle.set(xlabel="position a on the line", ylabel="loss", ylim=(0, 3), title="With a hidden layer: not convex")
middle.legend(loc="upper right")
band(right, runs[0][2].at, [found[2].values for found in runs])
right.set(xlabel="position a on the line", ylabel="loss", ylim=(0, 3), title="Without a hidden layer: convex")

# %%
# On each line, the trained weights theta are at a = 0. The loss falls from the initial weights to the trained weights.
# On the line between the trained weights of two seeds, the loss becomes far higher than at both ends. Therefore the
# loss of a network with a hidden layer is not convex. The loss of a network without a hidden layer is convex on the
# line from its initial weights through its trained weights. The two line plots have linear loss axes, because a
# logarithmic axis does not show convexity.

ridge = np.array([between.values.max() for _, between, _ in runs])
ends = np.array([max(between.values[0], between.values[-1]) for _, between, _ in runs])
print(f"line between two seeds: largest loss {interval(ridge):.2f}, larger loss of the two ends {interval(ends):.3f}")
print("without a hidden layer, the loss on the line is convex:", [bool(straight.is_convex()) for *_, straight in runs])
print("with a hidden layer, the loss between two seeds is convex:", [bool(line.is_convex()) for _, line, _ in runs])

assert interval(ridge - 10 * ends).low > 0
assert all(straight.is_convex() for *_, straight in runs)
assert not any(between.is_convex() for _, between, _ in runs)
