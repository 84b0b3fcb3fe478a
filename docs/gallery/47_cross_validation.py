"""
k-fold cross-validation
=======================

.. code-block:: text

    score = 1/k sum over the folds of the score on fold j of a network that learns from the other folds

How many hidden units? Five-fold cross-validation on 400 digits, compared with what comes out on 1,397 rows that were
kept away. All of it is repeated on six splits.
"""

import numpy as np
from shared import band, interval, load, subplots
from sklearn.model_selection import StratifiedKFold, cross_val_score

from fusedstep.schedules import constant
from fusedstep.sklearn import MLPClassifier

WIDTHS, FOLDS, SPLITS = [2, 4, 8, 16, 32, 64], 5, range(6)


def run(seed):
    """Return the scores of all folds, and that on the rows kept away, for every width."""
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
band(axes, WIDTHS, test, "rows kept away, learnt from all folds")
axes.set(xlabel="hidden units", ylabel="share of right answers", xscale="log", title="Six splits")
axes.set_xticks(WIDTHS, [str(width) for width in WIDTHS])
axes.minorticks_off()
_ = axes.legend(loc="lower right")

# %%
# The mean of the folds is close to the score on the rows kept away. A single fold can be off by several percent: the
# best and the worst fold of the same networks differ by so much. Widths of 16 and more cannot be told apart.

best = folds.mean(axis=2).argmax(axis=1)
chosen = [(fold[i].mean(), t[i], np.ptp(fold[i])) for fold, t, i in zip(folds, test, best, strict=True)]
cv, kept_away, spread = np.transpose(chosen)
print(f"chosen: {', '.join(str(WIDTHS[i]) for i in best)} units")
print(
    f"cross-validation {interval(cv):.1%}, rows kept away {interval(kept_away):.1%}, "
    f"folds differ by {interval(spread):.1%}"
)

assert abs(interval(cv - kept_away).mean) < 0.015
assert interval(spread).low > 0.01
assert interval(test[:, -1] - test[:, 0]).low > 0.1
