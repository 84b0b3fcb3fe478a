"""
Preprocessing
=============

A network learns the breast cancer data. The 30 features have very different scales: the largest value of one feature is
4254, and the largest value of another feature is 0.03. The page compares five ways to preprocess the features. In
the formulas, x is the value of one feature:

.. code-block:: text

    standardised: (x - mean) / std
    uniform:      share of the training rows in which this feature is below x, then standardised
    log:          log(1 + x), then standardised
    root:         sqrt(x), then standardised
    PCA:          standardised, then the 6 directions of largest variance

Each of the five ways is compared with unchanged features, on eight splits into training rows and test rows.
"""

import numpy as np
from shared import bars, interval, subplots
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, QuantileTransformer, StandardScaler

from fusedstep.schedules import constant
from fusedstep.sklearn import MLPClassifier

STEPS = {
    "unchanged": [],
    "standardised": [StandardScaler()],
    "uniform": [QuantileTransformer(n_quantiles=100), StandardScaler()],
    "log": [FunctionTransformer(np.log1p), StandardScaler()],
    "root": [FunctionTransformer(np.sqrt), StandardScaler()],
    "PCA, 6 of 30": [StandardScaler(), PCA(6)],
}
x, y = load_breast_cancer(return_X_y=True)
splits = StratifiedShuffleSplit(8, test_size=0.3, random_state=0)
network = MLPClassifier((16,), max_iter=20, batch_size=32, learning_rate=constant(0.01), random_state=0)
right = {name: cross_val_score(make_pipeline(*steps, network), x, y, cv=splits) for name, steps in STEPS.items()}

axes = subplots()
for i, shares in enumerate(right.values()):
    axes.plot([i] * len(shares), shares, ".", color="0.7")
bars(axes, range(len(right)), np.transpose(list(right.values())))
axes.set(xticks=range(len(right)), xticklabels=right, ylabel="accuracy on the test rows")
axes.set(title="Preprocessing of the features (grey: single splits)")

# %%
# With each of the five ways of preprocessing, the accuracy is higher than with unchanged features. The differences
# between the five accuracies are small.

for name, shares in right.items():
    difference = interval(shares - right["unchanged"])
    print(f"{name}: accuracy {interval(shares):.1%}, difference from unchanged features {difference:+.1%}")

assert all(interval(right[name] - right["unchanged"]).low > 0 for name in STEPS if name != "unchanged")
