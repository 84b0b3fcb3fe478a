"""
k-fold cross-validation
=======================

.. code-block:: text

    the training rows are divided into k parts, the folds
    score = 1/k sum_j s_j        s_j: the accuracy, on fold j, of a network that learned the other folds

Five-fold cross-validation on 400 images of digits chooses the number of hidden units: the number with the highest
score. The page compares the scores of cross-validation with the accuracies on 1,397 test rows. The comparison is
repeated on six splits of the data into training rows and test rows.
"""

import numpy as np
from shared import band, interval, load, subplots
from sklearn.model_selection import StratifiedKFold, cross_val_score

from fusedstep.schedules import constant
from fusedstep.sklearn import MLPClassifier

WIDTHS, FOLDS, SPLITS = [2, 4, 8, 16, 32, 64], 5, range(6)


def run(seed):
    """For every number of hidden units, return the accuracies on the folds, and the accuracy on the test rows."""
    data, folds, test = load("digits", 400, seed), [], []
    splits = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for width in WIDTHS:
        network = MLPClassifier((width,), max_iter=20, batch_size=32, learning_rate=constant(0.01), random_state=seed)
        folds.append(cross_val_score(network, data.x, data.y, cv=splits))
        test.append(network.fit(data.x, data.y).score(data.x_test, data.y_test))
    return np.array(folds), np.array(test)


runs = [run(seed) for seed in SPLITS]
folds, test = (np.array([found[i] for found in runs]) for i in (0, 1))  # axes: (split, width, fold), (split, width)
axes = subplots()
axes.plot(WIDTHS, folds[0], ".", color="0.6")
band(axes, WIDTHS, folds.mean(axis=2), f"mean of {FOLDS} folds (grey points: single folds of the first split)")
band(axes, WIDTHS, test, "test rows, after training on all folds")
axes.set(xlabel="hidden units", ylabel="accuracy", xscale="log", title="Means over six splits of the data")
axes.set_xticks(WIDTHS, [str(width) for width in WIDTHS])
axes.minorticks_off()
_ = axes.legend(loc="lower right")

# %%
# The score (the mean over the folds) is close to the accuracy on the test rows. The accuracy on a single fold is less
# reliable than this mean: with the chosen number of hidden units, the accuracies on the best and on the worst fold
# differ by several percentage points. In the picture, the scores of 16, 32 and 64 units are nearly the same.

best = folds.mean(axis=2).argmax(axis=1)
chosen = [(fold[i].mean(), t[i], np.ptp(fold[i])) for fold, t, i in zip(folds, test, best, strict=True)]
cv, on_test_rows, spread = np.transpose(chosen)
print(f"chosen hidden units, one number per split: {', '.join(str(WIDTHS[i]) for i in best)}")
print(
    f"cross-validation {interval(cv):.1%}, test rows {interval(on_test_rows):.1%}, "
    f"best minus worst fold {interval(spread):.1%}"
)

assert abs(interval(cv - on_test_rows).mean) < 0.015
assert interval(spread).low > 0.01
assert interval(test[:, -1] - test[:, 0]).low > 0.1
