"""
Non-linearities
===============

.. code-block:: text

    ReLU: max(x, 0)      tanh(x)      hard tanh: min(max(x, -1), 1)      sigmoid: 1 / (1 + exp(-x))

Networks with four hidden layers learn the digits for 10 epochs. The page compares four non-linearities. For each
non-linearity, the page tries four learning rates, and shows the training with the best rate. The best rate has the
lowest training loss in the last epoch (mean over five seeds).
"""

import numpy as np
from shared import SEEDS, band, interval, load, mlp, subplots, training

import fusedstep as fs
from fusedstep import nn

EPOCHS, RATES = 10, [0.03, 0.1, 0.3, 1.0]


def losses(kind, rate, seed):
    """Return the training loss of every epoch. `kind` is the class of the non-linearity."""
    data, model = load("digits", seed=seed), mlp(64, 32, 32, 32, 32, 10, activation=kind, rng=seed)
    return list(training(model, fs.SGD(model.params, lr=rate), data.x, data.y, epochs=EPOCHS, seed=seed))


x = np.linspace(-4, 4, 161).reshape(-1, 1).astype(np.float32)
left, right = subplots(2)
last = {}
for kind in (nn.ReLU, nn.Tanh, nn.HardTanh, nn.Sigmoid):
    with np.errstate(all="ignore"):
        runs = np.array([[losses(kind, rate, seed) for seed in SEEDS] for rate in RATES])
    best = int(np.nanargmin(runs[:, :, -1].mean(axis=1)))
    left.plot(x, nn.Sequential(kind()).predict(x), label=kind.__name__)
    band(right, range(1, EPOCHS + 1), runs[best], f"{kind.__name__}, lr {RATES[best]:g}")
    last[kind.__name__] = runs[best, :, -1]
left.set(xlabel="x", ylabel="output", ylim=(-1.5, 2.5), title="The functions")
right.set(xlabel="epoch", ylabel="training loss", title="Training, five seeds")
_ = right.legend(loc="center right")

# %%
# In backpropagation, a layer of sigmoids multiplies the gradient by the slope of the sigmoid, which is at most 1/4.
# Four such layers can make the gradient very small. After 10 epochs, the network with sigmoids has a far higher loss
# than the other three networks.

for name, values in last.items():
    print(f"{name}: training loss of the last epoch {interval(values):.3f}")

for name in ("ReLU", "Tanh", "HardTanh"):
    assert interval(last["Sigmoid"] - 3 * last[name]).low > 0
