"""
k-fold cross-validation
=======================

.. code-block:: text

    score = 1/k sum_j s_j        s_j: a network learns all folds except fold j; s_j is its score on fold j

Five-fold cross-validation on 400 digits chooses the number of hidden units. The page compares the scores of
cross-validation with the scores on 1,397 test rows. The comparison is repeated on six splits.
"""

import numpy as np
from shared import band, interval, load, subplots
from sklearn.model_selection import StratifiedKFold, cross_val_score

from fusedstep.schedules import constant
from fusedstep.sklearn import MLPClassifier

WIDTHS, FOLDS, SPLITS = [2, 4, 8, 16, 32, 64], 5, range(6)


def run(seed):
    """Return the scores of all folds, and the score on the test rows, for every width."""
    data, folds, test = load("digits", 400, seed), [], []
    splits = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for width in WIDTHS:
        network = MLPClassifier((width,), max_iter=20, batch_size=32, learning_rate=constant(0.01), random_state=seed)
        folds.append(cross_val_score(network, data.x, data.y, cv=splits))
        test.append(network.fit(data.x, data.y).score(data.x_test, data.y_test))
    return np.array(folds), np.array(test)


runs = [run(seed) for seed in SPLITS]
folds, test = (np.array([found[i] for found in runs]) for i in (0, 1))  # (split, width, fold), (split, width)
axes = subplots()
axes.plot(WIDTHS, folds[0], ".", color="0.6")
band(axes, WIDTHS, folds.mean(axis=2), f"mean of {FOLDS} folds (grey: the folds of the first split)")
band(axes, WIDTHS, test, "test rows, after training on all folds")
axes.set(xlabel="hidden units", ylabel="accuracy", xscale="log", title="Six splits")
axes.set_xticks(WIDTHS, [str(width) for width in WIDTHS])
axes.minorticks_off()
_ = axes.legend(loc="lower right")

# %%
# The mean score of the folds is close to the score on the test rows. The score of a single fold is less reliable. For
# the chosen number of hidden units, the scores of the best and the worst fold differ by several percentage points. The
# scores of 16, 32 and 64 units are nearly the same.

best = folds.mean(axis=2).argmax(axis=1)
chosen = [(fold[i].mean(), t[i], np.ptp(fold[i])) for fold, t, i in zip(folds, test, best, strict=True)]
cv, on_test_rows, spread = np.transpose(chosen)
print(f"chosen: {', '.join(str(WIDTHS[i]) for i in best)} units")
print(
    f"cross-validation {interval(cv):.1%}, test rows {interval(on_test_rows):.1%}, "
    f"folds differ by {interval(spread):.1%}"
)

assert abs(interval(cv - on_test_rows).mean) < 0.015
assert interval(spread).low > 0.01
assert interval(test[:, -1] - test[:, 0]).low > 0.1
