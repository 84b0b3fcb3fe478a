"""
Residual blocks
===============

.. code-block:: text

    y = max(0, BN(W x) + x)        without the residual: y = max(0, BN(W x))

BN is batch normalisation. Networks of 1 to 32 blocks learn the digits for 8 epochs. Each block has 32 units.
"""

import numpy as np
from shared import SEEDS, band, interval, load, subplots, training

import fusedstep as fs
from fusedstep import nn

EPOCHS, DEPTHS = 8, [1, 2, 4, 8, 16, 32]


def learn(depth, residual, seed):
    """Return the training loss of the last epoch."""
    layers = [nn.Linear(64, 32)]
    for _ in range(depth):
        block = [nn.Linear(32, 32, bias=False), nn.BatchNorm(relu=True)]
        layers += [nn.Residual(*block)] if residual else block
    model, data = nn.Sequential(*layers, nn.Linear(32, 10), rng=seed), load("digits", seed=seed)
    opt = fs.SGD(model.params, lr=0.05, momentum=0.9)
    return list(training(model, opt, data.x, data.y, epochs=EPOCHS, seed=seed))[-1]


axes, losses = subplots(), {}
for label, residual in {"with residuals": True, "without": False}.items():
    losses[label] = np.array([[learn(depth, residual, seed) for depth in DEPTHS] for seed in SEEDS])
    band(axes, DEPTHS, losses[label], label, marker="o", markersize=4)
axes.set(xlabel="blocks", ylabel=f"training loss after {EPOCHS} epochs", xscale="log", yscale="log", title="Five seeds")
axes.set_xticks(DEPTHS, [str(depth) for depth in DEPTHS])
_ = axes.legend()

# %%
# Deep networks learn far more slowly without residuals. With residuals, more depth raises the loss too: on this small
# problem, the loss rises with each doubling of the depth beyond 8 blocks. Without residuals, the loss begins to rise at
# a smaller depth, and rises more.

for depth, *values in zip(DEPTHS, *(found.T for found in losses.values()), strict=True):
    print(f"{depth:2} blocks: " + ", ".join(f"{k} {interval(v):.3f}" for k, v in zip(losses, values, strict=True)))

residual, plain = losses.values()
assert interval(plain[:, -1] - 2 * residual[:, -1]).low > 0
assert interval(residual[:, -1] - residual[:, 3]).low > 0
assert interval((plain[:, -1] - plain[:, 3]) - (residual[:, -1] - residual[:, 3])).low > 0
