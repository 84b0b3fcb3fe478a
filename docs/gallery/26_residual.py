"""
Residual blocks
===============

.. code-block:: text

    block with a residual: y = max(0, BN(W x) + x)        block without a residual: y = max(0, BN(W x))

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
axes.set(xlabel="number of blocks", ylabel=f"training loss in epoch {EPOCHS}", xscale="log", yscale="log")
axes.set(title="Means over five seeds")
axes.set_xticks(DEPTHS, [str(depth) for depth in DEPTHS])
_ = axes.legend()

# %%
# Deep networks learn far more slowly without residuals than with residuals. But on this small problem, networks with
# residuals can also be too deep: from 8 to 16 and from 16 to 32 blocks, the training loss rises. Without residuals, the
# loss begins to rise at a smaller number of blocks, and rises more. The output shows the training losses:

for depth, *values in zip(DEPTHS, *(found.T for found in losses.values()), strict=True):
    print(f"{depth:2} blocks: " + ", ".join(f"{k} {interval(v):.3f}" for k, v in zip(losses, values, strict=True)))

residual, plain = losses.values()
assert interval(plain[:, -1] - 2 * residual[:, -1]).low > 0
assert interval(residual[:, -1] - residual[:, 3]).low > 0
assert interval((plain[:, -1] - plain[:, 3]) - (residual[:, -1] - residual[:, 3])).low > 0
