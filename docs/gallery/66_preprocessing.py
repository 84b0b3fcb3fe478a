"""
Preprocessing
=============

.. code-block:: text

    standardise: (x - mean) / std      uniform: the rank of x      PCA: the directions of largest variance

A network learns the breast cancer data. The features have very different scales. The largest value is 4254. The page
compares preprocessing steps for the features on eight splits.
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
# With each preprocessing step, the accuracy is higher than with unchanged features. The differences between the steps
# are small.

for name, shares in right.items():
    print(f"{name}: accuracy {interval(shares):.1%}, gain {interval(shares - right['unchanged']):+.1%}")

assert all(interval(right[name] - right["unchanged"]).low > 0 for name in STEPS if name != "unchanged")
