"""
Label smoothing
===============

.. code-block:: text

    t' = (1 - eps) t + eps / k        t: 1 for the right class, else 0; k: number of classes; eps: from 0 to 1

t is the target of a class without smoothing, and t' is its target with smoothing. A network learns 300 digits with
plain labels (eps = 0) and with smoothed labels. The comparison is repeated on twelve splits of the data.
"""

import numpy as np
from shared import bars, interval, load, mlp, subplots, training

import fusedstep as fs
from fusedstep import nn
from fusedstep.augment import label_smoothing

EPSILONS, SPLITS = (0.0, 0.05, 0.1, 0.2, 0.3), range(12)


def learn(eps, seed):
    """Return the accuracy, and the mean probability of the predicted class in right and in wrong predictions."""
    data, model = load("digits", 300, seed), mlp(64, 64, 10, rng=seed)
    targets = label_smoothing(data.y, eps, num_classes=10)
    list(training(model, fs.Adam(model.params, lr=3e-3), data.x, targets, epochs=60, seed=seed))
    p = nn.softmax(model.predict(data.x_test))
    right = p.argmax(axis=1) == data.y_test
    return right.mean(), p.max(axis=1)[right].mean(), p.max(axis=1)[~right].mean()


found = np.array([[learn(eps, seed) for eps in EPSILONS] for seed in SPLITS])  # (split, eps, quantity)
left, sure = subplots(2)
bars(left, EPSILONS, found[:, :, 0] - found[:, :1, 0], fmt="o-")
left.set(xlabel="eps", ylabel="gain in accuracy over eps = 0", title="Accuracy (means over twelve splits)")
bars(sure, EPSILONS, found[:, :, 1], "right predictions", fmt="o-")
bars(sure, EPSILONS, found[:, :, 2], "wrong predictions", fmt="o--")
sure.set(xlabel="eps", ylabel="mean probability of the predicted class", ylim=(0, 1), title="Confidence")
_ = sure.legend()

# %%
# Smoothing lowers the mean probability of the predicted class, both in wrong and in right predictions. If eps is 0.1
# or more, the accuracy is slightly higher than with eps = 0.

for i, eps in enumerate(EPSILONS):
    right, sure_right, sure_wrong = (interval(values) for values in found[:, i].T)
    gain = interval(found[:, i, 0] - found[:, 0, 0])
    print(
        f"eps {eps}: accuracy {right:.1%} (gain over eps = 0: {gain:+.2%}), mean probability of the predicted class "
        f"{sure_right:.2f} in right predictions, {sure_wrong:.2f} in wrong predictions"
    )

gain = interval(found[:, 2:, 0] - found[:, :1, 0])  # eps of 0.1 and more
assert (gain.low > 0).all()
assert (interval(found[:, 0, 2] - found[:, 2, 2]).low > 0.05) and interval(found[:, 2, 2] - found[:, 4, 2]).low > 0
assert interval(found[:, 0, 1] - found[:, 4, 1]).low > 0.1
