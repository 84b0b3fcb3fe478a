"""
Outputs and their losses
========================

.. code-block:: text

    linear output + squared error: (z - t)^2      sigmoid + binary cross-entropy: -t log p - (1 - t) log(1 - p)
    softmax + negative log-likelihood: -log p[label]      linear + hinge: sum over j of max(0, z_j - z_label + 1)

z is an output before the sigmoid or the softmax, and p is an output after the sigmoid or the softmax. t is the target.
The left panel shows the negative gradient with respect to z for t = 1. The losses are the squared error, binary
cross-entropy, hinge, and the squared error of a sigmoid output. The right panel shows the accuracy of networks that
learn the digits with each of the four losses in the formulas above.
"""

import numpy as np
from shared import SEEDS, accuracy, band, interval, load, mlp, subplots, training

import fusedstep as fs
from fusedstep import nn
from fusedstep.augment import one_hot

EPOCHS = 15


def learn(loss, seed):
    """Return the accuracy on the test rows after every epoch."""
    data, model = load("digits", seed=seed), mlp(64, 32, 10, rng=seed)
    y = one_hot(data.y, 10) if loss in (nn.MeanSquaredError, nn.BinaryCrossEntropy) else data.y
    opt = fs.Adam(model.params, lr=3e-3)
    epochs = training(model, opt, data.x, y, epochs=EPOCHS, loss=loss(), seed=seed)
    return [accuracy(model, data.x_test, data.y_test) for _ in epochs]


def slope(loss, z, target):
    """Return the gradient of a loss at every z."""
    return np.array([loss.gradient(row[None], target)[0, 0] for row in z])


z, up = np.linspace(-6, 6, 121).reshape(-1, 1), np.ones((1, 1))
p = 1 / (1 + np.exp(-z))
with_rival = np.hstack([z, np.zeros_like(z)])  # the hinge loss needs the z of another class, here 0
pushes = {
    "squared error": -slope(nn.MeanSquaredError(), z, up),
    "cross-entropy": -slope(nn.BinaryCrossEntropy(), z, up),
    "hinge": -slope(nn.MulticlassHinge(), with_rival, np.array([0])),
    "sigmoid + squared": -slope(nn.MeanSquaredError(), p, up) * (p * (1 - p))[:, 0],
}
losses = (nn.MeanSquaredError, nn.BinaryCrossEntropy, nn.MulticlassHinge, nn.SoftmaxNLL)
runs = {loss.__name__: np.array([learn(loss, seed) for seed in SEEDS]) for loss in losses}
left, right = subplots(2)
for label, push in pushes.items():
    left.plot(z, push, label=label)
left.set(xlabel="z", ylabel="negative gradient", ylim=(-0.2, 2.6), title="Gradients of the losses")
left.legend(loc="upper left")
for label, found in runs.items():
    band(right, range(1, EPOCHS + 1), found, label)
right.set(xlabel="epoch", ylabel="accuracy on the test rows", ylim=(0.5, 1), title="Training, five seeds")
_ = right.legend()

# %%
# If z is far below 0 and the target is 1, a sigmoid output is wrong. With cross-entropy, minus the gradient is 1 - p,
# which is then nearly 1. With squared error, the gradient is nearly 0, so the network hardly learns from this row.
# Therefore the squared error is the wrong loss for a sigmoid. With each of the four losses in the right panel, networks
# learn the digits, and the accuracies are similar.

print(
    f"negative gradient at z = -6: cross-entropy {pushes['cross-entropy'][0]:.2f}, "
    f"sigmoid + squared {pushes['sigmoid + squared'][0]:.3f}"
)
for name, found in runs.items():
    print(f"{name}: accuracy {interval(found[:, -1]):.1%}")

assert pushes["sigmoid + squared"][0] < 0.02 and pushes["cross-entropy"][0] > 0.9
assert all(interval(found[:, -1]).low > 0.94 for found in runs.values())
