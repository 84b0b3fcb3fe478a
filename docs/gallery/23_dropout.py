"""
Dropout
=======

.. code-block:: text

    inverted    training: y_i = m_i x_i / (1 - p), m_i = 0 with probability p, else 1        prediction: y = x
    vanilla     training: y_i = m_i x_i                                                      prediction: y = (1 - p) x

A network with layers of 10, 64, 64 and 1 units is large enough to memorise the diabetes data. The targets are
standardised. Therefore a model that always predicts their mean has a mean squared error of about 1.
"""

import numpy as np
from shared import band, interval, load, mlp, subplots, training

import fusedstep as fs
from fusedstep import nn

EPOCHS, SEEDS = 100, range(8)
DROPOUT = {"p = 0": {}, "p = 0.2": {"dropout": 0.2}, "p = 0.5": {"dropout": 0.5}}
DROPOUT["p = 0.5, vanilla"] = {"dropout": 0.5, "mode": "vanilla"}


def errors(options, seed):
    """Return the errors on the training and the test rows after every epoch."""
    data, model, loss = load("diabetes", seed=seed), mlp(10, 64, 64, 1, **options, rng=seed), nn.MeanSquaredError()
    epochs = training(model, fs.Adam(model.params), data.x, data.y, epochs=EPOCHS, loss=loss, seed=seed)
    return np.transpose([[loss(model.predict(x), y) for x, y in (data[:2], data[2:])] for _ in epochs])


runs = {label: np.array([errors(options, seed) for seed in SEEDS]) for label, options in DROPOUT.items()}
axes = subplots(size=(8.0, 4.0))
for i, (label, found) in enumerate(runs.items()):
    band(axes, range(1, EPOCHS + 1), found[:, 1], label, color=f"C{i}")
    band(axes, range(1, EPOCHS + 1), found[:, 0], color=f"C{i}", linestyle=":")
axes.set(xlabel="epoch", ylabel="mean squared error of predictions", ylim=(0, 1.2), title="Dropout reduces memorising")
_ = axes.legend(title="solid: test rows\ndotted: training rows", loc="upper left", bbox_to_anchor=(1.0, 1.0))

# %%
# Without dropout, the error on the test rows is lowest after a few epochs, and then rises. With dropout, this error is
# lower after the last epoch. The lowest test error over all epochs is nearly the same with and without dropout. The
# output shows errors on the test rows:

last = {label: found[:, 1, -1] for label, found in runs.items()}
lowest = {label: found[:, 1].min(axis=1) for label, found in runs.items()}
for label in DROPOUT:
    print(f"{label}: after {EPOCHS} epochs {interval(last[label]):.2f}, lowest error {interval(lowest[label]):.2f}")

none, some, much, vanilla = last.values()
assert interval(none - some).low > 0.05
assert interval(some - much).low > 0
assert interval(none - vanilla).low > 0.05
assert all(abs(interval(lowest["p = 0"] - values).mean) < 0.03 for values in lowest.values())
