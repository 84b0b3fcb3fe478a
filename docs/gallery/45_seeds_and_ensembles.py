"""
Seeds and ensembles
===================

.. code-block:: text

    p(x) = 1/m sum_j softmax(f_j(x))        p: prediction of m networks together        f_j: network j

Networks that differ only in their seed learn 100 or 400 images of digits. The page compares single networks with the
mean prediction of the first m networks. For each number of images, the comparison is repeated on five splits of the
data into training rows and test rows.
"""

import numpy as np
from shared import SEEDS, accuracy, band, interval, load, mlp, subplots, training

import fusedstep as fs
from fusedstep import nn
from fusedstep.ensemble import Ensemble, over_seeds

N, ROWS = 20, (100, 400)


def learn(data, seed):
    """Return a trained network."""
    model = mlp(64, 16, 10, rng=seed)
    list(training(model, fs.Adam(model.params, lr=3e-3), data.x, data.y, epochs=60, seed=seed))
    return model


def run(rows, split):
    """Return the accuracies of the single networks and, for every m, the accuracy of the first m networks together."""
    data = load("digits", rows, split)
    models = [learn(data, seed) for seed in range(N)]
    scores = over_seeds(lambda seed: accuracy(models[seed], data.x_test, data.y_test), range(N))
    together = [Ensemble(models[:m]).predict(data.x_test, nn.softmax).argmax(axis=1) for m in range(1, N + 1)]
    return scores, [np.mean(answers == data.y_test) for answers in together]


runs = {rows: [run(rows, split) for split in SEEDS] for rows in ROWS}
for axes, (rows, found) in zip(subplots(2), runs.items(), strict=True):
    scores, _ = found[0]
    axes.plot(range(1, N + 1), scores.values, ".", color="0.6", label="network j alone, first split")
    band(axes, range(1, N + 1), [[scores.mean] * N for scores, _ in found], "mean accuracy of the single networks")
    band(axes, range(1, N + 1), [right for _, right in found], "first m networks together")
    axes.set(xlabel="m (or j, for network j alone)", ylabel="accuracy on the test rows")
    axes.set(title=f"{rows} images of digits, five splits")
    axes.set_xticks(range(2, N + 1, 4))
axes.legend()

# %%
# With 100 images, the standard deviation of the accuracy over seeds is about one percentage point. If two methods are
# run with one seed each, a difference of one percentage point can come from the seeds alone. In the output below, the
# gain of 20 networks is their accuracy together minus the mean accuracy of the single networks. This gain is larger
# with 100 images than with 400 images.

gains = {}
for rows, found in runs.items():
    gains[rows] = interval([right[-1] - scores.mean for scores, right in found])
    deviation = interval([scores.std for scores, _ in found])
    print(f"{rows} images: gain of {N} networks {gains[rows]:+.1%}; standard deviation over seeds {deviation:.2%}")

assert gains[100].low > 0.01
assert gains[400].low > 0 and gains[400].high < 0.5 * gains[100].low
