"""
Batch normalisation at different learning rates
===============================================

.. code-block:: text

    y = gamma (x - mean) / sqrt(var + eps) + beta

In training, mean and var are the mean and the variance of the batch. In prediction, they are averages over the
training batches. gamma and beta are learned. eps is a small constant.

A network with five hidden ReLU layers learns the digits for 10 epochs by SGD without momentum. The page compares the
accuracy with and without batch normalisation at 13 learning rates.
"""

import numpy as np
from shared import SEEDS, accuracy, band, interval, load, subplots, training

import fusedstep as fs
from fusedstep import nn

EPOCHS, RATES = 10, np.geomspace(1e-3, 10, 13)


def network(normalised, seed):
    """Return a network with five hidden layers of 64 units each, with or without batch normalisation."""
    layers = []
    for n_in in (64,) * 5:
        linear = nn.Linear(n_in, 64, bias=not normalised)
        layers += [linear, nn.BatchNorm(relu=True) if normalised else nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 10), rng=seed)


def learn(normalised, rate, seed):
    """Return the accuracy on the test rows."""
    data, model = load("digits", seed=seed), network(normalised, seed)
    list(training(model, fs.SGD(model.params, lr=rate), data.x, data.y, epochs=EPOCHS, seed=seed))
    return accuracy(model, data.x_test, data.y_test)


axes, good = subplots(), {}
with np.errstate(all="ignore"):
    for label, normalised in {"with batch normalisation": True, "without": False}.items():
        right = np.array([[learn(normalised, rate, seed) for rate in RATES] for seed in SEEDS])
        band(axes, RATES, right, label, marker="o", markersize=4)
        good[label] = (right > 0.95).sum(axis=1)
axes.set(xlabel="learning rate", ylabel="accuracy on the test rows", xscale="log", ylim=(0, 1))
axes.set(title="Means over five seeds")
_ = axes.legend(loc="lower center")

# %%
# For each seed, the page counts the learning rates that lead to an accuracy above 95%. The output shows the mean of
# this count over the five seeds, with its 95% interval:

for label, counts in good.items():
    print(f"{label}: {interval(counts):.1f}")

with_norm, without = good.values()
assert interval(with_norm - without).low > 2
