"""k-fold cross-validation.

    score = 1/k sum over the folds of the score on fold j of a network that learns from the other folds

How many hidden units? By {folds}-fold cross-validation on 400 digits, of 2 to 64 units {best} are best ({cv:.1%}),
and the score of the folds is an estimate of what comes out on {rows} rows that were kept away: {test:.1%}. A single
split of a fifth can be off: folds of the same networks differ by {spread:.1%}.

Checked: `abs(cv - test) < 0.03 and spread > 0.01`
"""

import numpy as np
from gallery import load, picture
from sklearn.model_selection import StratifiedKFold, cross_val_score

from fusedstep.schedules import constant
from fusedstep.sklearn import MLPClassifier

WIDTHS, FOLDS = [2, 4, 8, 16, 32, 64], 5


def main():
    """Draw the score of every fold, and on the rows that were kept away."""
    data, folds, test = load("digits", 400), [], []
    splits = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    for width in WIDTHS:
        network = MLPClassifier((width,), max_iter=20, batch_size=32, learning_rate=constant(0.01), random_state=0)
        folds.append(cross_val_score(network, data.x, data.y, cv=splits))
        test.append(network.fit(data.x, data.y).score(data.x_test, data.y_test))
    means = np.mean(folds, axis=1)
    best = int(np.argmax(means))
    with picture("47_cross_validation") as ax:
        ax.plot(WIDTHS, folds, "o", color="C0", markersize=4, alpha=0.5)
        ax.plot(WIDTHS, means, label=f"mean of {FOLDS} folds (dots: single folds)")
        ax.plot(WIDTHS, test, color="C1", label="test rows, learnt from all folds")
        ax.set(xlabel="hidden units", ylabel="share of right answers", xscale="log")
        ax.set_xticks(WIDTHS, [str(width) for width in WIDTHS])
        ax.minorticks_off()
        ax.legend(loc="lower right")
    numbers = {"folds": FOLDS, "best": WIDTHS[best], "cv": means[best], "test": test[best]}
    return numbers | {"rows": len(data.y_test), "spread": np.ptp(folds[best])}


if __name__ == "__main__":
    print(main())
