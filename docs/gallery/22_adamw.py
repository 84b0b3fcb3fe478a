"""
AdamW against Adam with L2
==========================

.. code-block:: text

    Adam + L2: g += lambda theta, then Adam's step       AdamW: theta <- theta (1 - eta lambda), then Adam's step

g is the gradient, theta the weights, eta the learning rate, and lambda >= 0 the strength of the weight decay. Adam's
step divides by sqrt(v), and v is the average of the squared gradients. In Adam + L2, the term lambda theta is therefore
divided by sqrt(v) too. In AdamW, the decay is not divided. Here lambda is 0.003 for Adam + L2 and 0.3 for AdamW. With
these values, the two methods shrink the weights about equally overall.

A network with layers of 64, 32 and 10 units learns the digits. In the picture, each of the 64 pixels has one point per
method. A pixel's weights are the 32 weights between this pixel and the hidden units. The horizontal axis shows the root
mean square of the gradients of a pixel's weights, at the end of a training without weight decay. The vertical axis
shows the norm of a pixel's weights after training with weight decay, divided by their norm after training without it.
"""

import numpy as np
from shared import SEEDS, accuracy, interval, load, mlp, subplots, training

import fusedstep as fs

DECAYS = {"none": (fs.Adam, 0.0), "Adam + L2, lambda 0.003": (fs.Adam, 3e-3), "AdamW, lambda 0.3": (fs.AdamW, 0.3)}


def learn(optimizer, decay, seed):
    """Return the norm of each pixel's weights, the root mean square of their gradients, and the accuracy."""
    data, model = load("digits", seed=seed), mlp(64, 32, 10, rng=seed)
    opt = optimizer(model.params, lr=3e-3, weight_decay=decay)
    list(training(model, opt, data.x, data.y, epochs=40, seed=seed))
    gradients = np.sqrt(opt.state["0.weight"]["exp_avg_sq"].mean(axis=1))
    return np.linalg.norm(model.params["0.weight"], axis=1), gradients, accuracy(model, data.x_test, data.y_test)


runs = {label: [learn(*decay, seed) for seed in SEEDS] for label, decay in DECAYS.items()}
sizes, gradients = (np.array([[run[i] for run in found] for found in runs.values()]) for i in (0, 1))
ratios = {label: size / sizes[0] for label, size in zip(DECAYS, sizes, strict=True)}  # arrays of shape (seeds, pixels)
axes = subplots()
x = np.maximum(gradients[0].mean(axis=0), 1e-9)
for label, style in (("Adam + L2, lambda 0.003", "o"), ("AdamW, lambda 0.3", "s")):
    logs = interval(np.log10(np.maximum(ratios[label], 1e-6)))
    middle, low, high = (10**value for value in (logs.mean, logs.low, logs.high))
    axes.errorbar(x, middle, [middle - low, high - middle], fmt=style, markersize=4, linewidth=0.8, label=label)
axes.set(xlabel="root mean square of the gradients (zero is drawn at 1e-9)", xscale="log", yscale="log")
axes.set(
    ylabel="norm with weight decay / norm without it\n(zero is drawn at 1e-6)",
    title="AdamW shrinks the weights of all pixels alike (5 seeds)",
)
_ = axes.legend()

# %%
# AdamW shrinks the weights of all pixels by about the same factor. Adam + L2 shrinks weights with small gradients more
# than weights with large gradients. On the test rows, the accuracies of the two methods are nearly the same. In the
# output, the spread of a method is computed from its values on the vertical axis: the 90% quantile of these values over
# all pixels, divided by their 10% quantile.

spread = {k: np.divide(*np.quantile(v, [0.9, 0.1], axis=1)) for k, v in ratios.items() if k != "none"}
right = {label: np.array([share for *_, share in found]) for label, found in runs.items()}
for label in DECAYS:
    print(
        f"{label}: accuracy {interval(right[label]):.1%}"
        + (f", spread {interval(spread[label]):.1f}" if label in spread else "")
    )

l2, adamw = list(DECAYS)[1:]
assert interval(np.log(spread[l2] / spread[adamw])).low > np.log(3)
gain = interval(right[adamw] - right[l2])
assert gain.low < 0.005 and abs(gain.mean) < 0.01
