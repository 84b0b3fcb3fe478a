"""
Early stopping
==============

.. code-block:: text

    stop after `patience` epochs in a row without a new lowest error on the validation rows;
    then restore the weights that had the lowest error on the validation rows

A network with layers of 10, 64, 64 and 1 units learns the diabetes data. Sixty rows are held out for validation. Early
stopping would end the training after ten epochs in a row without a new lowest error on these rows. This page continues
the training to epoch 100, so that the picture also shows the later errors.
"""

import numpy as np
from shared import band, interval, load, mlp, subplots, training

import fusedstep as fs
from fusedstep import nn
from fusedstep.stopping import EarlyStopping

EPOCHS, PATIENCE, RUNS = 100, 10, range(10)


def run(seed):
    """Return the training, validation and test errors after every epoch, and the epoch of the weights to restore."""
    data, model, loss = load("diabetes", seed=seed), mlp(10, 64, 64, 1, rng=seed), nn.MeanSquaredError()
    (x, y), validation = (data.x[60:], data.y[60:]), (data.x[:60], data.y[:60])
    stopping, errors, best_at = EarlyStopping(model, PATIENCE), [], 0
    for _ in training(model, fs.Adam(model.params), x, y, epochs=EPOCHS, loss=loss, seed=seed):
        errors.append([loss(model.predict(rows), target) for rows, target in ((x, y), validation, data[2:])])
        if stopping.observe(errors[-1][1]) and not best_at:
            best_at = stopping.best_at  # early stopping would end the training here
    return np.transpose(errors), best_at


runs = [run(seed) for seed in RUNS]
axes = subplots()
for i, name in enumerate(("training", "validation", "test")):
    band(axes, range(1, EPOCHS + 1), [errors[i] for errors, _ in runs], name)
best = interval([best_at for _, best_at in runs])
axes.axvspan(best.low, best.high, color="0.8", label=f"epoch of the restored weights: {best:.1f}")
axes.set(xlabel="epoch", ylabel="mean squared error", ylim=(0, 1.2), title="Means over ten splits of the data")
_ = axes.legend()

# %%
# On the test rows, the weights that early stopping would restore have a lower error than the weights of epoch 100. In
# the output, the difference is the error at epoch 100 minus the error with early stopping.

stopped = np.array([errors[2, best_at - 1] for errors, best_at in runs])
full = np.array([errors[2, -1] for errors, _ in runs])
gain = interval(full - stopped)
print(f"early stopping: error {interval(stopped):.2f}, epoch 100: error {interval(full):.2f}, difference {gain:.2f}")

assert all(0 < best_at < 60 for _, best_at in runs)
assert interval(full - stopped).low > 0.05
