"""
A sparse auto-encoder
=====================

.. code-block:: text

    h = sigmoid(x W + b),  r = h V + c;    minimise mean (x - r)^2 + weight * sum over units of KL(rho, mean of h)

h are the hidden outputs, and r is the reconstruction of x. Two auto-encoders with 64 hidden units learn the digits. The
dense auto-encoder has no penalty. The sparse auto-encoder has the KL penalty (rho = 0.05) and noisy inputs. The
comparison is repeated with five seeds.
"""

import numpy as np
from shared import SEEDS, band, interval, load, mosaic, show, subplots

from fusedstep import nn

SETTINGS = {"dense": {}, "sparse": {"penalty": nn.KLActivity(0.01, rho=0.05), "noise": 0.3}}


def run(options, seed):
    """Return mean activations, output weights of 36 units, the error, and the error if r is the mean of all digits."""
    data = load("digits", seed=seed)
    (stack,) = nn.pretrain(data.x, [64], epochs=60, lr=0.01, seed=seed, **options)
    layer = stack.layers[0]
    h = nn.Sequential(nn.Sigmoid()).predict(data.x @ layer.weight + layer.bias)
    added = layer.autoencoder.layers[-1].params["weight"]
    used = np.argsort(-h.std(axis=0) * np.linalg.norm(added, axis=1))[:36]
    strokes = added[used] / np.abs(added[used]).max(axis=1, keepdims=True)
    mean_error = np.mean((data.x - data.x.mean(axis=0)) ** 2)
    return np.sort(h.mean(axis=0))[::-1], strokes.reshape(-1, 8, 8), stack.error, mean_error


runs = {name: [run(options, seed) for seed in SEEDS] for name, options in SETTINGS.items()}
*panels, right = subplots(3, size=(9.0, 3.4))
for axes, (name, found) in zip(panels, runs.items(), strict=True):
    show(axes, mosaic(found[0][1], 6), xticks=[], yticks=[], title=f"{name}: output weights of 36 units")
    band(right, range(64), [units for units, *_ in found], name)
right.set(xlabel="hidden unit", ylabel="mean activation", ylim=(0, 1), title="Mean activations")
_ = right.legend()

# %%
# The sparse auto-encoder reconstructs a digit with few active units. Each unit adds a piece of a stroke. The error of
# the sparse auto-encoder is higher than the error of the dense auto-encoder. If every digit is reconstructed as the
# mean of all digits, the error is far higher than the errors of both auto-encoders.

mean_picture = np.array([mean for *_, mean in runs["dense"]])
means = {name: np.array([units.mean() for units, *_ in found]) for name, found in runs.items()}
errors = {name: np.array([error for *_, error, _ in found]) for name, found in runs.items()}
for name in SETTINGS:
    print(f"{name}: mean activation {interval(means[name]):.2f}, error {interval(errors[name]):.4f}")
print(f"error of the mean of all digits {interval(mean_picture):.4f}")

assert interval(0.5 * means["dense"] - means["sparse"]).low > 0
assert interval(0.5 * mean_picture - errors["sparse"]).low > 0
