"""
Sparse activations
==================

.. code-block:: text

    L1: sum |h| / n      Student-t: sum log(1 + h^2) / n      KL: sum over units of KL(rho, mean activation of the unit)

A network with 64 hidden units learns the digits. h are the outputs of these units for the n rows of a batch. A penalty
on h is added to the loss. In the third penalty, the mean activation of a unit is the mean of its outputs over the rows
of the batch, and rho = 0.05 is the target for this mean. KL(rho, a) is the Kullback-Leibler divergence between two
Bernoulli distributions with the means rho and a.

On this page, a unit is called active if its output is above 0.1.
"""

import numpy as np
from shared import SEEDS, accuracy, band, interval, load, subplots, training

import fusedstep as fs
from fusedstep import nn

NETWORKS = {
    "ReLU": [nn.ReLU],
    "ReLU, L1": [nn.ReLU, lambda: nn.L1Activity(0.01)],
    "ReLU, Student-t": [nn.ReLU, lambda: nn.StudentTActivity(0.03)],
    "sigmoid": [nn.Sigmoid],
    "sigmoid, KL": [nn.Sigmoid, lambda: nn.KLActivity(0.1, rho=0.05)],
}


def learn(makers, seed):
    """Return for each unit the share of test rows on which the unit is active (largest first), and the accuracy."""
    data = load("digits", seed=seed)
    model = nn.Sequential(nn.Linear(64, 64), *(make() for make in makers), nn.Linear(64, 10), rng=seed)
    list(training(model, fs.Adam(model.params, lr=3e-3), data.x, data.y, epochs=40, seed=seed))
    hidden = model.layers[1].forward(model.layers[0].forward(data.x_test, False), False)
    return np.sort((hidden > 0.1).mean(axis=0))[::-1], accuracy(model, data.x_test, data.y_test)


runs = {label: [learn(makers, seed) for seed in SEEDS] for label, makers in NETWORKS.items()}
axes = subplots()
for label, found in runs.items():
    band(axes, range(64), [active for active, _ in found], label)
axes.set(xlabel="hidden units, the most active unit first", ylim=(0, 1.05))
axes.set(ylabel="share of test rows on which the unit is active")
axes.set(title="Penalties make activations sparse (means over five seeds)")
_ = axes.legend(loc=(0.02, 0.43))

# %%
# For each network, the printed line shows the share of test rows on which a unit is active (mean over all units), and
# the accuracy:

active = {label: np.array([units.mean() for units, _ in found]) for label, found in runs.items()}
right = {label: np.array([share for _, share in found]) for label, found in runs.items()}
for label in NETWORKS:
    print(f"{label}: active {interval(active[label]):.0%}, accuracy {interval(right[label]):.1%}")

assert interval(0.5 * active["ReLU"] - active["ReLU, L1"]).low > 0
assert interval(0.7 * active["ReLU"] - active["ReLU, Student-t"]).low > 0
assert interval(0.5 * active["sigmoid"] - active["sigmoid, KL"]).low > 0
assert all(interval(shares).low > 0.93 for shares in right.values())
