"""Bagging and boosting.

    bagging: the average of networks from bootstrap samples      AdaBoost: networks one after the other, each with more
    weight on the rows that those before got wrong

Networks with {width} hidden units on the digits: a single one is right on {single:.1%} of the test rows (mean of 6
seeds), {n} from bootstrap samples together on {bagging:.1%} and {n} boosted ones on {boosting:.1%}.

Checked: `bagging > single + 0.03 and boosting > single + 0.03`
"""

import numpy as np
from gallery import load, picture
from sklearn.base import clone
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier

from fusedstep.sklearn import MLPClassifier

N, WIDTH = 12, 6


def main():
    """Draw the share of right answers over the number of networks."""
    data = load("digits", 600)
    network = MLPClassifier((WIDTH,), max_iter=15, batch_size=32, learning_rate_init=0.01, n_iter_no_change=np.inf)
    bagging = BaggingClassifier(network, N, random_state=0).fit(data.x, data.y)
    boosting = AdaBoostClassifier(network, n_estimators=N, random_state=0).fit(data.x, data.y)
    probabilities = np.cumsum([member.predict_proba(data.x_test) for member in bagging.estimators_], axis=0)
    right = {
        "bagging": [np.mean(p.argmax(axis=1) == data.y_test) for p in probabilities],
        "boosting": list(boosting.staged_score(data.x_test, data.y_test)),
    }
    alone = [clone(network).set_params(random_state=seed).fit(data.x, data.y) for seed in range(6)]
    single = np.mean([member.score(data.x_test, data.y_test) for member in alone])
    with picture("46_bagging_and_boosting") as ax:
        for label, shares in right.items():
            ax.plot(range(1, len(shares) + 1), shares, label=label)
        ax.axhline(single, color="0.4", linestyle=":", label="one network on all rows, mean of 6 seeds")
        ax.set(xlabel="number of networks", ylabel="share of right answers, test rows")
        ax.legend()
    numbers = {"n": N, "width": WIDTH, "single": single}
    return numbers | {label: shares[-1] for label, shares in right.items()}


if __name__ == "__main__":
    print(main())
