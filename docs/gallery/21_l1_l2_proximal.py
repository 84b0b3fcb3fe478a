"""
L1, L2 and proximal penalties
=============================

.. code-block:: text

    L2: g += lambda theta      L1: g += lambda sign(theta)      elastic net: L1 and L2
    proximal L1: after the step, theta <- sign(theta) max(|theta| - eta lambda, 0)

g is the gradient of the loss, theta a weight, lambda >= 0 the strength of the penalty, and eta the learning rate.

A network with layers of 30, 16 and 2 units learns the breast cancer data. The penalties apply to the weights, not to
the biases.
"""

import numpy as np
from shared import SEEDS, accuracy, band, interval, load, mlp, subplots, training

import fusedstep as fs

PENALTIES = {
    "none": {},
    "L2": {"weight_decay": 0.03},
    "L1": {"l1": 0.01},
    "elastic net": {"l1": 0.01, "weight_decay": 0.03},
    "proximal L1": {"l1": 0.01, "decay": "proximal"},
}


def learn(penalty, seed):
    """Return the absolute values of the first layer's weights in descending order, and the test accuracy."""
    data, model = load("breast_cancer", seed=seed), mlp(30, 16, 2, rng=seed)
    weights = {n: p for n, p in model.params.items() if n.endswith("weight")}
    biases = {n: p for n, p in model.params.items() if n.endswith("bias")}
    opt = fs.SGD([{"params": weights, **penalty}, {"params": biases}], lr=0.2)
    list(training(model, opt, data.x, data.y, epochs=80, seed=seed))
    sizes = np.sort(np.abs(model.params["0.weight"]).ravel())[::-1]
    return sizes, accuracy(model, data.x_test, data.y_test)


runs = {label: [learn(penalty, seed) for seed in SEEDS] for label, penalty in PENALTIES.items()}
axes = subplots()
for label, found in runs.items():
    band(axes, range(480), [np.log10(np.maximum(sizes, 1e-6)) for sizes, _ in found], label)
axes.set(xlabel="first layer's weights, in descending order of |weight|", title="Means over five splits of the data")
axes.set(ylabel="log10 |weight| (zero is drawn at -6)")
_ = axes.legend(loc="lower center")

# %%
# The L2 penalty makes the weights small. If the gradient of the L1 penalty is added to the loss gradient, many weights
# become small too, but they keep moving around zero. Only "proximal L1" makes weights exactly zero. The accuracy with
# "proximal L1" is nearly the same as without a penalty.

zeros = {label: np.array([np.mean(sizes == 0) for sizes, _ in found]) for label, found in runs.items()}
right = {label: np.array([correct for _, correct in found]) for label, found in runs.items()}
for label in PENALTIES:
    share, correct = interval(zeros[label]), interval(right[label])
    print(f"{label}: {share:.0%} of the first layer's weights are zero, accuracy {correct:.1%}")

assert interval(zeros["proximal L1"]).low > 0.5
assert all(zeros[label].max() == 0 for label in PENALTIES if label != "proximal L1")
assert abs(interval(right["proximal L1"] - right["none"]).mean) < 0.02
