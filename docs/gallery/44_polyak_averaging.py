"""
Polyak averaging
================

.. code-block:: text

    theta: the weights      avg: their running average      d: a constant below 1
    after every step:    avg <- d avg + (1 - d) theta

A network learns 600 images of digits by gradient descent with momentum, in batches of 8 rows. A fifth of the training
labels are replaced by random digits. The weights keep moving, because every batch has a different gradient. The average
of the weights (d = 0.995) moves far less.
"""

import numpy as np
from shared import SEEDS, accuracy, band, interval, load, mlp, subplots, training, wrong_labels

import fusedstep as fs

EPOCHS, BATCH, DECAY, WINDOW = 40, 8, 0.995, 20


def learn(seed):
    """Return an array with one column per epoch: the accuracy of the weights (row 0) and of their average (row 1)."""
    data, model, shares = load("digits", 600, seed), mlp(64, 16, 10, rng=seed), []
    opt = fs.SGD(model.params, lr=0.05, momentum=0.9, ema_decay=DECAY)
    labels = wrong_labels(data.y, 0.2, seed)
    for _ in training(model, opt, data.x, labels, epochs=EPOCHS, batch=BATCH, seed=seed):
        raw = accuracy(model, data.x_test, data.y_test)
        with opt.averaged():
            shares.append((raw, accuracy(model, data.x_test, data.y_test)))
    return np.transpose(shares)


runs = np.array([learn(seed) for seed in SEEDS])  # axes: seed, weights or average, epoch
left, right = subplots(2)
left.plot(range(1, EPOCHS + 1), runs[0].T, label=["the weights", "their average"])
left.set(xlabel="epoch", ylabel="accuracy on the test rows", ylim=(0.7, 0.95), title="One run")
for i, label in enumerate(("the weights", "their average")):
    band(right, range(1, EPOCHS + 1), runs[:, i], label)
right.set(xlabel="epoch", ylim=(0.7, 0.95), title="Mean of five seeds")
_ = right.legend(loc="lower right")

# %%
# The output shows the mean accuracy over the last 20 epochs, and the difference in accuracy between the best and the
# worst of these epochs.

raw, average = runs[:, 0, -WINDOW:], runs[:, 1, -WINDOW:]
for label, values in (("weights", raw), ("average", average)):
    print(
        f"{label}: accuracy {interval(values.mean(axis=1)):.1%}, "
        f"best minus worst epoch {interval(np.ptp(values, axis=1)):.1%}"
    )

assert interval(average.mean(axis=1) - raw.mean(axis=1)).low > 0.01
assert interval(0.5 * np.ptp(raw, axis=1) - np.ptp(average, axis=1)).low > 0
