"""
Momentum near a saddle
======================

.. code-block:: text

    a <- beta a + g,   theta <- theta - eta a        (beta = 0: gradient descent)

theta are the weights of a network, g is the gradient of its loss, eta is the learning rate, and beta is the momentum.
The array a starts at zero. The network has four linear layers, with tanh units between them, and learns to classify
digits. Its initial weights are drawn by Glorot's rule and multiplied by 0.2. With weights this small, the training
starts near a saddle of the loss: the network gives nearly the same output for every digit, and the gradient is nearly
zero.
"""

import numpy as np
from shared import SEEDS, band, interval, load, subplots, training

import fusedstep as fs
from fusedstep import init, nn

EPOCHS = 60
OPTIMIZERS = {
    "gradient descent, lr 0.05": lambda params: fs.SGD(params, lr=0.05),
    "momentum 0.9, lr 0.05": lambda params: fs.SGD(params, lr=0.05, momentum=0.9),
    "Adam, lr 0.003": lambda params: fs.Adam(params, lr=0.003),
    "gradient descent, lr 0.5": lambda params: fs.SGD(params, lr=0.5),
}


def network(seed):
    """Return a network of four layers. The initial weights are drawn by Glorot's rule and multiplied by 0.2."""
    widths = (64, 32, 32, 32, 10)
    linear = [nn.Linear(*widths[i : i + 2], weight_init=init.glorot(scale=0.2)) for i in range(4)]
    return nn.Sequential(linear[0], nn.Tanh(), linear[1], nn.Tanh(), linear[2], nn.Tanh(), linear[3], rng=seed)


def losses(make, seed):
    """Train with the optimizer `make(params)`. Return the training loss of every epoch."""
    data, model = load("digits", seed=seed), network(seed)
    return list(training(model, make(model.params), data.x, data.y, epochs=EPOCHS, seed=seed))


runs = {label: np.array([losses(make, seed) for seed in SEEDS]) for label, make in OPTIMIZERS.items()}
axes = subplots()
for label, curves in runs.items():
    band(axes, range(1, EPOCHS + 1), curves, label)
axes.set(xlabel="epoch", ylabel="training loss (mean over the epoch)", title="Leaving a saddle (mean of five seeds)")
_ = axes.legend()

# %%
# For each seed, the page finds the first epoch with a training loss below 2. The output shows the number of this epoch
# (mean of five seeds, with the 95% interval):

needed = {label: 1 + np.argmax(curves < 2, axis=1) for label, curves in runs.items()}
for label, epochs in needed.items():
    print(f"{label}: epoch {interval(epochs):.1f}")

# %%
# SGD with momentum leaves the saddle much earlier than gradient descent at the same learning rate. But a larger
# learning rate has the same effect as momentum. If g stayed constant, the array a would grow to g / (1 - beta) = 10 g.
# So momentum 0.9 makes the steps up to ten times as long. Gradient descent at ten times the learning rate leaves the
# saddle about as early as SGD with momentum.

plain, momentum, adam, tenfold = needed.values()
assert all((curves < 2).any(axis=1).all() for curves in runs.values())
assert interval(plain - 3 * momentum).low > 0
assert interval(momentum - adam).low > 0
assert interval(tenfold - momentum).high < 2
