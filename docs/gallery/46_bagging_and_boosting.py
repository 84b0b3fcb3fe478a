"""Bagging and boosting.

    bagging: the average of networks from bootstrap samples      AdaBoost: networks one after the other, each with more
    weight on the rows that those before got wrong

Networks with {width} hidden units on the digits: single ones are right on {worst:.1%} to {best:.1%} of the test rows
({n} seeds, mean {single:.1%}), {n} from bootstrap samples together on {bagging:.1%} and {n} boosted ones on
{boosting:.1%} (means of {runs} runs).

Finding: boosting begins above a single network. AdaBoost's weights sum to 1 and not to the number of rows, so `alpha`,
which is divided by the weights of a batch, counts {rows} times as much: the first one is better regularised.

Checked: `bagging > single + 0.03 and boosting > single + 0.03 and first > single`
"""

import numpy as np
from gallery import load, picture
from sklearn.base import clone
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier

from fusedstep.schedules import constant
from fusedstep.sklearn import MLPClassifier

N, WIDTH, RUNS = 12, 6, 4


def main():
    """Draw the share of right answers over the number of networks."""
    data = load("digits", 600)
    network = MLPClassifier((WIDTH,), max_iter=15, batch_size=32, learning_rate=constant(0.01))

    def bagging(seed):
        bag = BaggingClassifier(network, N, random_state=seed).fit(data.x, data.y)
        probabilities = np.cumsum([member.predict_proba(data.x_test) for member in bag.estimators_], axis=0)
        return np.mean(probabilities.argmax(axis=2) == data.y_test, axis=1)

    def boosting(seed):
        boosted = AdaBoostClassifier(network, n_estimators=N, random_state=seed).fit(data.x, data.y)
        return list(boosted.staged_score(data.x_test, data.y_test))

    alone = [clone(network).set_params(random_state=seed).fit(data.x, data.y) for seed in range(N)]
    scores = [member.score(data.x_test, data.y_test) for member in alone]
    numbers = {"n": N, "width": WIDTH, "runs": RUNS, "rows": len(data.x)}
    numbers |= {"worst": min(scores), "single": np.mean(scores), "best": max(scores)}
    with picture("46_bagging_and_boosting") as ax:
        for learn in (bagging, boosting):
            right = np.mean([learn(seed) for seed in range(RUNS)], axis=0)
            ax.plot(range(1, N + 1), right, label=f"{learn.__name__} (mean of {RUNS} runs)")
            numbers |= {learn.__name__: right[-1], "first": right[0]}
        ax.axhline(numbers["single"], color="0.4", linestyle=":", label="one network on all rows, mean of the seeds")
        ax.set(xlabel="number of networks", ylabel="share of right answers, test rows")
        ax.legend()
    return numbers


if __name__ == "__main__":
    print(main())
