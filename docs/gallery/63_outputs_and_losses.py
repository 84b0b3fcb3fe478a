"""
Outputs and their losses
========================

The page compares losses for linear outputs, for sigmoid outputs and for a softmax. z is the output of the last linear
layer, t is the target, label is the correct class, and p = sigmoid(z) or p = softmax(z).

.. code-block:: text

    linear output + squared error: (z - t)^2      sigmoid + binary cross-entropy: -t log p - (1 - t) log(1 - p)
    softmax + negative log-likelihood: -log p[label]
    linear output + hinge: sum over all classes j != label of max(0, z_j - z_label + 1)

The right panel shows the accuracy of networks that learn the digits with these four losses. The left panel shows,
for the target 1, the negative gradients of four losses with respect to z. Three of these losses are also in the right
panel. The fourth is a loss that is not recommended: the squared error of a sigmoid output, (p - t)^2.
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
    """Return the gradient of a loss with respect to the first output, for every row of the outputs z."""
    return np.array([loss.gradient(row[None], target)[0, 0] for row in z])


z, up = np.linspace(-6, 6, 121).reshape(-1, 1), np.ones((1, 1))
p = 1 / (1 + np.exp(-z))
with_rival = np.hstack([z, np.zeros_like(z)])  # the hinge loss needs a second class, whose output is always 0 here
pushes = {
    "squared error": -slope(nn.MeanSquaredError(), z, up),
    "cross-entropy": -slope(nn.BinaryCrossEntropy(), z, up),
    "hinge": -slope(nn.MulticlassHinge(), with_rival, np.array([0])),
    "squared error of a sigmoid": -slope(nn.MeanSquaredError(), p, up) * (p * (1 - p))[:, 0],
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
# If z is far below 0 and the target is 1, the sigmoid output p is nearly 0 and thus wrong. With cross-entropy, the
# negative gradient is 1 - p, which is then nearly 1. With the squared error of the sigmoid, the gradient is nearly 0,
# so the network hardly learns from this wrong output. Therefore the squared error is the wrong loss for a sigmoid
# output. In the right panel, the squared error is used with linear outputs. With each of the four losses in this panel,
# the network learns the digits, and the accuracies are similar.

print(
    f"negative gradient at z = -6: cross-entropy {pushes['cross-entropy'][0]:.2f}, "
    f"squared error of a sigmoid {pushes['squared error of a sigmoid'][0]:.3f}"
)
for name, found in runs.items():
    print(f"{name}: accuracy {interval(found[:, -1]):.1%}")

assert pushes["squared error of a sigmoid"][0] < 0.02 and pushes["cross-entropy"][0] > 0.9
assert all(interval(found[:, -1]).low > 0.94 for found in runs.values())
