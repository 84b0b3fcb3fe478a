"""
Momentum against plateaus and saddles
=====================================

.. code-block:: text

    a <- beta a + g,   theta <- theta - eta a        (beta = 0: gradient descent)

The initial weights of a network of four layers have a fifth of the size that Glorot's rule gives. The training starts
near a saddle: the network gives nearly the same output for every digit, and the gradient is nearly zero.
"""

import numpy as np
from shared import SEEDS, band, interval, load, subplots, training

import fusedstep as fs
from fusedstep import init, nn

EPOCHS = 60
OPTIMIZERS = {
    "plain, lr 0.05": lambda params: fs.SGD(params, lr=0.05),
    "momentum 0.9, lr 0.05": lambda params: fs.SGD(params, lr=0.05, momentum=0.9),
    "Adam, lr 0.003": lambda params: fs.Adam(params, lr=0.003),
    "plain, lr 0.5": lambda params: fs.SGD(params, lr=0.5),
}


def network(seed):
    """Return a network of four layers. The initial weights are a fifth of the size that Glorot's rule gives."""
    widths = (64, 32, 32, 32, 10)
    linear = [nn.Linear(*widths[i : i + 2], weight_init=init.glorot(scale=0.2)) for i in range(4)]
    return nn.Sequential(linear[0], nn.Tanh(), linear[1], nn.Tanh(), linear[2], nn.Tanh(), linear[3], rng=seed)


def losses(make, seed):
    """Return the training loss of every epoch."""
    data, model = load("digits", seed=seed), network(seed)
    return list(training(model, make(model.params), data.x, data.y, epochs=EPOCHS, seed=seed))


runs = {label: np.array([losses(make, seed) for seed in SEEDS]) for label, make in OPTIMIZERS.items()}
axes = subplots()
for label, curves in runs.items():
    band(axes, range(1, EPOCHS + 1), curves, label)
axes.set(xlabel="epoch", ylabel="training loss (mean over the epoch)", title="Leaving a saddle, five seeds")
_ = axes.legend()

# %%
# The output shows the number of epochs until the loss is below 2:

needed = {label: 1 + np.argmax(curves < 2, axis=1) for label, curves in runs.items()}
for label, epochs in needed.items():
    print(f"{label}: {interval(epochs):.1f} epochs")

# %%
# SGD with momentum leaves the saddle much earlier than plain gradient descent at the same rate. But a larger rate has
# the same effect. If the gradient stays the same for many steps, momentum 0.9 makes the steps ten times as long.
# Plain gradient descent at ten times the rate leaves the saddle as early as SGD with momentum.

plain, momentum, adam, tenfold = needed.values()
assert all((curves < 2).any(axis=1).all() for curves in runs.values())
assert interval(plain - 3 * momentum).low > 0
assert interval(momentum - adam).low > 0
assert interval(tenfold - momentum).high < 2
