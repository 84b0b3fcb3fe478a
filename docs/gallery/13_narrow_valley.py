"""
A narrow valley
===============

.. code-block:: text

    L(w) = mean((x w - y)^2) / 2
    kappa = (largest eigenvalue of C) / (smallest eigenvalue of C),   C = 1/n * x^T x
    momentum:  a <- beta a + g,  w <- w - eta a
    Nesterov:  the same two updates, but g is the gradient at w - eta beta a

A linear model with the weights w classifies tumours by their radius and their area. x has n rows with these two
features, and y is -1 or 1. g is the gradient of the loss L, and eta is the learning rate. The array a is the
sum of all gradients so far, in which older gradients count less. beta is the momentum. The two features are strongly
correlated. Therefore the loss has the form of a narrow valley: the curvature across the valley is more than a hundred
times the curvature along the valley. kappa is the ratio of these two curvatures.
"""

from contextlib import nullcontext

import numpy as np
from shared import band, interval, load, subplots

import fusedstep as fs

STEPS = 1200


def path(optimizer, x, y, **options):
    """Return the weights at the start and after every step of a new optimizer with these options."""
    w = np.array([0.2, -0.6])
    opt, points = optimizer([w], **options), [w.copy()]
    for _ in range(STEPS):
        with opt.lookahead() if optimizer is fs.NAG else nullcontext():
            gradient = x.T @ (x @ w - y) / len(x)
        opt.step([gradient])
        points.append(w.copy())
    return np.array(points)


def run(seed):
    """Return kappa, the data, the minimum, and the path of each optimizer on one split."""
    data = load("breast_cancer", seed=seed, dtype=np.float64)
    x, y = data.x[:, [0, 3]], 2.0 * data.y - 1
    low, high = np.linalg.eigvalsh(x.T @ x / len(x))
    paths = {
        "gradient descent": path(fs.SGD, x, y, lr=1 / high),
        "momentum 0.9": path(fs.SGD, x, y, lr=1 / high, momentum=0.9),
        "Nesterov 0.9": path(fs.NAG, x, y, lr=1 / high, momentum=0.9),
        "Adam, lr 0.1": path(fs.Adam, x, y, lr=0.1),
    }
    return high / low, (x, y), np.linalg.lstsq(x, y)[0], paths


runs = [run(seed) for seed in range(12)]

# %%
# The left panel shows the paths of the weights on one split of the data. The grey lines are contours of the loss. The
# right panel shows the logarithm of the distance to the minimum (mean over twelve splits).

left, right = subplots(2)
_, (x, y), _, paths = runs[0]
u, v = np.meshgrid(np.linspace(-1.8, 0.4, 80), np.linspace(-0.9, 1.2, 80))
loss = np.mean((u[..., None] * x[:, 0] + v[..., None] * x[:, 1] - y) ** 2, axis=-1) / 2
left.contour(u, v, loss, levels=loss.min() + np.geomspace(0.003, 4, 12), colors="0.8", linewidths=0.8)
distances = {}
for label, points in paths.items():
    left.plot(*points.T, marker=".", markersize=3, linewidth=1)
    distances[label] = np.array([np.linalg.norm(paths[label] - best, axis=1) for _, _, best, paths in runs])
    band(right, range(STEPS + 1), np.log10(np.maximum(distances[label], 1e-12)), label)
left.set(xlabel="weight of the radius", ylabel="weight of the area", title="Paths on one split")
right.set(
    xlabel="step",
    ylabel="log10 of the distance to the minimum",
    ylim=(-6, 1),
    title="Momentum is faster than gradient descent",
)
_ = right.legend()

# %%
# The output shows kappa, and the number of steps after which the distance to the minimum stays below 0.01:

steps = {label: 1 + np.array([np.flatnonzero(d > 0.01)[-1] for d in found]) for label, found in distances.items()}
kappa = interval([kappa for kappa, *_ in runs])
print(f"kappa {kappa:.0f}")
for label, needed in steps.items():
    print(f"{label}: {interval(needed):.0f} steps")
print(f"momentum 0.9 needs {interval(steps['momentum 0.9'] - steps['Nesterov 0.9']):.0f} more steps than Nesterov 0.9")

plain, momentum, nesterov, adam = steps.values()
assert kappa.low > 100
assert interval(plain - 5 * momentum).low > 0
assert interval(momentum - nesterov).low > 0
assert interval(plain - adam).low > 0
