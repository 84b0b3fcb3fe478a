"""
Bagging and boosting
====================

.. code-block:: text

    bootstrap sample: as many rows as the training data have, drawn with replacement
    bagging: each network learns its own bootstrap sample; the predictions are averaged
    boosting (AdaBoost): networks are trained in sequence; rows that earlier networks misclassify have larger weights

Networks with 6 hidden units learn 600 images of digits. The page compares an ensemble of twelve bagged networks, an
ensemble of twelve boosted networks, and single networks that learn all 600 rows with equal weights. The comparison is
repeated on six splits of the data into training rows and test rows.
"""

import numpy as np
from shared import band, interval, load, subplots
from sklearn.base import clone
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier

from fusedstep.schedules import constant
from fusedstep.sklearn import MLPClassifier

N, SEEDS = 12, range(6)
network = MLPClassifier((6,), max_iter=15, batch_size=32, learning_rate=constant(0.01))


def run(seed):
    """Return the accuracies with bagging, the accuracies with boosting, and the accuracy of a single network.

    The accuracies with bagging or boosting are those of the first m networks together, for m = 1 to N. The accuracy
    of a single network is a mean over four networks, each trained alone on all rows.
    """
    data = load("digits", 600, seed)
    bag = BaggingClassifier(network, N, random_state=seed).fit(data.x, data.y)
    probabilities = np.cumsum([member.predict_proba(data.x_test) for member in bag.estimators_], axis=0)
    bagging = np.mean(probabilities.argmax(axis=2) == data.y_test, axis=1)
    boosted = AdaBoostClassifier(network, n_estimators=N, random_state=seed).fit(data.x, data.y)
    boosting = list(boosted.staged_score(data.x_test, data.y_test))
    members = [clone(network).set_params(random_state=i).fit(data.x, data.y) for i in range(4)]
    return bagging, boosting, np.mean([member.score(data.x_test, data.y_test) for member in members])


runs = [run(seed) for seed in SEEDS]
bagging, boosting = (np.array([found[i] for found in runs]) for i in (0, 1))
single = np.array([found[2] for found in runs])
axes = subplots()
band(axes, range(1, N + 1), bagging, "bagging")
band(axes, range(1, N + 1), boosting, "boosting")
band(
    axes, range(1, N + 1), np.repeat(single[:, None], N, axis=1), "one network on all rows", color="0.4", linestyle=":"
)
axes.set(xlabel="number of networks", ylabel="accuracy on the test rows", title="Means over six splits of the data")
_ = axes.legend()

# %%
# Both ensembles are more accurate than a single network that learns all rows. Even the first boosted network alone is
# more accurate than such a single network. The reason is a larger L2 penalty (``alpha``). ``MLPClassifier`` divides
# this penalty by the sum of the sample weights of a batch. For a single network, each row has the weight 1. For the
# first boosted network, each row has the weight 1/600, because AdaBoost makes the sum over all 600 rows equal to 1.
# Therefore the penalty of the first boosted network is 600 times as large as that of a single network.

print(f"accuracy: one network {interval(single):.1%}, the first boosted network {interval(boosting[:, 0]):.1%}")
print(f"{N} bagged networks {interval(bagging[:, -1]):.1%}, {N} boosted networks {interval(boosting[:, -1]):.1%}")

assert interval(bagging[:, -1] - single).low > 0.03
assert interval(boosting[:, -1] - single).low > 0.03
assert interval(boosting[:, 0] - single).low > 0
