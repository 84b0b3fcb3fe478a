"""
Dropout as an ensemble: Monte Carlo uncertainty
===============================================

.. code-block:: text

    p = 1/K sum over K masks of softmax(f(x, mask)),      uncertainty = -sum over the classes of p log p

A network f is trained with dropout. A dropout mask says which units are set to zero. The trained network predicts each
row x with K = 30 different masks. The mean p of the predicted probabilities is used like the mean of an ensemble.
"""

import numpy as np
from scipy.ndimage import rotate
from shared import SEEDS, accuracy, band, bars, interval, load, mlp, subplots, training

import fusedstep as fs
from fusedstep import nn
from fusedstep.ensemble import Ensemble

K, ANGLES = 30, np.arange(0, 181, 15)


def learn(data, seed, dropout, epochs=30):
    """Return a trained network."""
    model = mlp(64, 128, 128, 10, dropout=dropout, rng=seed)
    list(training(model, fs.Adam(model.params), data.x, data.y, epochs=epochs, seed=seed))
    return model


def right(p, y):
    """Return the share of rows whose largest probability belongs to the right class."""
    return np.mean(p.argmax(axis=1) == y)


def masks(model, x):
    """Return the mean of the predicted probabilities over K dropout masks."""
    return model.predict_samples(x, K, key=0, transform=nn.softmax).mean


# %%
# Is the mean over masks more accurate than one pass without masks?
# -----------------------------------------------------------------
# Each of ten splits has 200 training digits. Four predictions are compared:
#
# - the prediction of a network that was trained with dropout, in one pass with dropout off,
# - the mean of 30 predictions of the same network, each with another mask,
# - the prediction of one network that was trained without dropout,
# - the mean of the predictions of five networks that were trained without dropout.


def accuracies(seed):
    """Return the accuracies of the four predictions on one split, in the order of the list."""
    data = load("digits", 200, seed)
    dropped = learn(data, seed, 0.4, epochs=60)
    members = [learn(data, 100 * seed + i, 0.0, epochs=60) for i in range(5)]
    one, mean = nn.softmax(dropped.predict(data.x_test)), masks(dropped, data.x_test)
    together = Ensemble(members).predict(data.x_test, nn.softmax)
    return [
        right(one, data.y_test),
        right(mean, data.y_test),
        accuracy(members[0], *data[2:]),
        right(together, data.y_test),
    ]


found = np.array([accuracies(seed) for seed in range(10)])
labels = ["dropout, one pass", f"dropout, {K} masks", "no dropout, one network", "no dropout, five networks"]
axes = subplots()
bars(axes, range(4), found)
axes.set(ylabel="accuracy on the test rows", title="200 training digits, means over ten splits")
axes.set_xticks(range(4), [label.replace(", ", ",\n") for label in labels])
one, mean, alone, five = found.T
for label, values in zip(labels, found.T, strict=True):
    print(f"{label}: accuracy {interval(values):.1%}")
print(f"gain of {K} masks over one pass {interval(mean - one):+.2%}")
print(f"gain of five networks over {K} masks {interval(five - mean):+.2%}")
print(f"gain of five networks over one network {interval(five - alone):+.2%}")

# %%
# The mean over masks is not measurably more accurate than one pass with dropout off. The mean of five networks without
# dropout is more accurate than the mean over masks, but not measurably more accurate than one network without dropout.

assert abs(interval(mean - one).mean) < 0.003
assert interval(five - mean).low > 0

# %%
# Does the entropy show which predictions are uncertain?
# ------------------------------------------------------
# The test digits are rotated by 0 to 180 degrees, in steps of 15 degrees. The entropy of the predicted probabilities
# measures the uncertainty of a prediction.


def entropy(p):
    """Return the mean entropy of rows of probabilities."""
    return -np.mean(np.sum(p * np.log(np.maximum(p, 1e-30)), axis=1))


def turned(seed):
    """Return accuracy and entropy of the mean over masks, and the entropy of one pass, each for every angle."""
    data = load("digits", seed=seed)
    model = learn(data, seed, 0.4)
    values = []
    for angle in ANGLES:
        images = rotate(data.x_test.reshape(-1, 8, 8), angle, axes=(1, 2), reshape=False, order=1)
        x = images.reshape(-1, 64)
        mean = masks(model, x)
        values.append((right(mean, data.y_test), entropy(mean), entropy(nn.softmax(model.predict(x)))))
    return np.transpose(values)


curves = np.array([turned(seed) for seed in SEEDS])  # (seed, quantity, angle)
left, uncertain = subplots(2)
band(left, ANGLES, curves[:, 0])
left.set(xlabel="rotation (degrees)", ylabel="accuracy", ylim=(0, 1), title=f"Accuracy of the mean over {K} masks")
band(uncertain, ANGLES, curves[:, 1], f"mean over {K} masks")
band(uncertain, ANGLES, curves[:, 2], "one pass, dropout off")
uncertain.set(xlabel="rotation (degrees)", ylabel="entropy (nats)", ylim=(0, 1.4), title="Uncertainty")
_ = uncertain.legend()

# %%
# At 30 degrees, more than half of the predictions are wrong. From 0 to 30 degrees, the entropy of the mean over masks
# rises more than the entropy of one pass. But the entropy does not detect every image that differs from the training
# images. At 90 degrees, nearly all predictions are wrong, and the entropy of the mean over masks is lower than at 0
# degrees.

at = {angle: curves[:, :, list(ANGLES).index(angle)] for angle in (0, 30, 90)}
for angle, values in at.items():
    print(
        f"{angle} degrees: accuracy of the mean over masks {interval(values[:, 0]):.0%}, "
        f"entropy of the mean over masks {interval(values[:, 1]):.2f}, entropy of one pass {interval(values[:, 2]):.2f}"
    )

assert interval(at[30][:, 1] - 2 * at[0][:, 1]).low > 0
assert interval(at[30][:, 1] - at[30][:, 2]).low > 0.1
assert interval(at[90][:, 0]).high < 0.3
assert interval(at[90][:, 1] - at[0][:, 1]).high < 0
