"""
Batch normalisation over learning rates
=======================================

.. code-block:: text

    y = gamma (x - mean) / sqrt(var + eps) + beta, mean and var of the batch (in prediction: running averages)

Five hidden layers of ReLU learn the digits for 10 epochs by plain gradient descent, at 13 learning rates.
"""

import numpy as np
from shared import SEEDS, accuracy, band, interval, load, subplots, training

import fusedstep as fs
from fusedstep import nn

EPOCHS, RATES = 10, np.geomspace(1e-3, 10, 13)


def network(normalised, seed):
    """Return five hidden layers of 64."""
    layers = []
    for n_in in (64,) * 5:
        linear = nn.Linear(n_in, 64, bias=not normalised)
        layers += [linear, nn.BatchNorm(relu=True) if normalised else nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 10), rng=seed)


def learn(normalised, rate, seed):
    """Return the share of right answers on the test rows."""
    data, model = load("digits", seed=seed), network(normalised, seed)
    list(training(model, fs.SGD(model.params, lr=rate), data.x, data.y, epochs=EPOCHS, seed=seed))
    return accuracy(model, data.x_test, data.y_test)


axes, good = subplots(), {}
with np.errstate(all="ignore"):
    for label, normalised in {"with batch normalisation": True, "without": False}.items():
        right = np.array([[learn(normalised, rate, seed) for rate in RATES] for seed in SEEDS])
        band(axes, RATES, right, label, marker="o", markersize=4)
        good[label] = (right > 0.95).sum(axis=1)
axes.set(
    xlabel="learning rate", ylabel="share of right answers, test rows", xscale="log", ylim=(0, 1), title="Five seeds"
)
_ = axes.legend(loc="lower center")

# %%
# The number of rates, of 13, that lead to more than 95% right answers:

for label, counts in good.items():
    print(f"{label}: {interval(counts):.1f}")

with_norm, without = good.values()
assert interval(with_norm - without).low > 2
