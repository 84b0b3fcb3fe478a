"""
A sparse auto-encoder
=====================

An auto-encoder computes hidden outputs h from its input x, and a reconstruction r of x from h. Here, x is an image of a
digit.

.. code-block:: text

    h = sigmoid(x W + b),  r = h V + c;    minimise mean (x - r)^2 + weight * sum over units of KL(rho, mean of h)

The second term is a penalty on the mean output of each hidden unit over the images. KL is the Kullback-Leibler
divergence. It is 0 if this mean is rho, and above 0 otherwise. The page compares two auto-encoders with 64 hidden
units, for five seeds. The dense auto-encoder has no penalty (weight = 0). The sparse auto-encoder has the penalty with
weight = 0.01 and rho = 0.05, and noise is added to its inputs in training.
"""

import numpy as np
from shared import SEEDS, band, interval, load, mosaic, show, subplots

from fusedstep import nn

SETTINGS = {"dense": {}, "sparse": {"penalty": nn.KLActivity(0.01, rho=0.05), "noise": 0.3}}


def run(options, seed):
    """Train an auto-encoder. Return its mean activations, the output weights of 36 units, and two errors.

    The first error is the mean squared error of the reconstructions. The second error is the mean squared error if the
    mean of all images is used as the reconstruction of every image.
    """
    data = load("digits", seed=seed)
    (stack,) = nn.pretrain(data.x, [64], epochs=60, lr=0.01, seed=seed, **options)
    layer = stack.layers[0]
    h = nn.Sequential(nn.Sigmoid()).predict(data.x @ layer.weight + layer.bias)
    added = layer.autoencoder.layers[-1].params["weight"]
    # the 36 units whose contributions to the reconstruction vary most from image to image
    used = np.argsort(-h.std(axis=0) * np.linalg.norm(added, axis=1))[:36]
    strokes = added[used] / np.abs(added[used]).max(axis=1, keepdims=True)
    mean_error = np.mean((data.x - data.x.mean(axis=0)) ** 2)
    return np.sort(h.mean(axis=0))[::-1], strokes.reshape(-1, 8, 8), stack.error, mean_error


runs = {name: [run(options, seed) for seed in SEEDS] for name, options in SETTINGS.items()}
*panels, right = subplots(3, size=(9.0, 3.4))
for axes, (name, found) in zip(panels, runs.items(), strict=True):
    show(axes, mosaic(found[0][1], 6), xticks=[], yticks=[], title=f"{name}: output weights of 36 units")
    band(right, range(64), [units for units, *_ in found], name)
right.set(xlabel="hidden unit (sorted)", ylabel="mean activation", ylim=(0, 1), title="Mean activations")
_ = right.legend()

# %%
# The sparse auto-encoder uses few active units to reconstruct an image. Each unit adds a piece of a stroke. The error
# is the mean squared error of the reconstruction. The error of the sparse auto-encoder is higher than the error of the
# dense auto-encoder. If the mean of all images is used as the reconstruction of every image, the error is far higher
# than the errors of the two auto-encoders.

mean_picture = np.array([mean for *_, mean in runs["dense"]])
means = {name: np.array([units.mean() for units, *_ in found]) for name, found in runs.items()}
errors = {name: np.array([error for *_, error, _ in found]) for name, found in runs.items()}
for name in SETTINGS:
    print(f"{name}: mean activation {interval(means[name]):.2f}, error {interval(errors[name]):.4f}")
print(f"with the mean of all images as the reconstruction: error {interval(mean_picture):.4f}")

assert interval(0.5 * means["dense"] - means["sparse"]).low > 0
assert interval(0.5 * mean_picture - errors["sparse"]).low > 0
