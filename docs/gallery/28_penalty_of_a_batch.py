"""
The penalty of a mini-batch
===========================

A batch of B rows gets the share B/T of the penalty, where T is the number of all rows. In online training, the share is
B/t, where t is the number of rows in all steps so far, including the present step:

.. code-block:: text

    B/T:            g = (sum of the gradients of the batch's rows) + (B/T) lambda theta
    online, B/t:    g = (sum of the gradients of the batch's rows) + (B/t) lambda theta

g is the gradient in a step. theta are the weights, and lambda theta is the gradient of the whole penalty.

A ridge regression learns T = 294 rows of the diabetes data in batches of B = 32 rows. In the last batch, B is 6. The
factor B/T or B/t is the argument ``decay_scale`` of ``step``.
"""

import numpy as np
from shared import SEEDS, band, interval, load, subplots

import fusedstep as fs

BATCH, EPOCHS, PENALTY = 32, 60, 40.0
SHARES = {
    "B/T": lambda rows, seen, total: rows / total,
    "whole penalty in every batch": lambda rows, seen, total: 1.0,
    "online, B/t": lambda rows, seen, total: rows / seen,
}


def path(x, y, share, seed):
    """Return the weights after every epoch. In each step, the penalty is multiplied by `share(B, t, T)`."""
    rng, theta, points, seen = np.random.default_rng(seed), np.zeros(x.shape[1]), [], 0
    eta = fs.schedules.cosine(3e-3, EPOCHS * -(-len(x) // BATCH))
    opt = fs.SGD([theta], lr=eta, weight_decay=PENALTY)
    for _ in range(EPOCHS):
        order = rng.permutation(len(x))
        for rows in np.split(order, range(BATCH, len(x), BATCH)):
            seen += len(rows)
            gradient = x[rows].T @ (x[rows] @ theta - y[rows])
            opt.step([gradient], decay_scale=share(len(rows), seen, len(x)))
        points.append(theta.copy())
    return np.array(points)


def run(seed):
    """Return the exact solutions with and without the penalty, and for each scaling the weights after every epoch."""
    data = load("diabetes", seed=seed, dtype=np.float64)
    x, y = data.x, data.y[:, 0]
    ridge, free = (np.linalg.solve(x.T @ x + penalty * np.eye(10), x.T @ y) for penalty in (PENALTY, 0.0))
    return ridge, free, {label: path(x, y, share, seed) for label, share in SHARES.items()}


runs = [run(seed) for seed in SEEDS]
lengths = {label: np.array([np.linalg.norm(paths[label], axis=1) for *_, paths in runs]) for label in SHARES}
ridge, free = (np.array([np.linalg.norm(found[i]) for found in runs]) for i in (0, 1))
axes = subplots()
for label, values in lengths.items():
    band(axes, range(1, EPOCHS + 1), values, label)
for label, values, style in (("ridge solution", ridge, ":"), ("solution without a penalty", free, "-.")):
    axes.axhline(values.mean(), color="0.4", linestyle=style, label=label)
axes.set(xlabel="epoch", ylabel="norm of the weights", ylim=(0, None), title="Means over five splits of the data")
_ = axes.legend(loc="lower right")

# %%
# The ridge solution is the exact minimum of the loss with the whole penalty. If the penalty is scaled by B/T, the
# weights reach the ridge solution. If every batch has the whole penalty, the weights stay far from the ridge solution.
# The online scaling treats every row as a new row, also in later epochs. So t grows beyond T, and the factor B/t
# becomes smaller from epoch to epoch. Therefore the norm of the weights grows beyond the norm of the ridge solution,
# towards the norm of the solution without a penalty.
#
# In the output, the distance from the ridge solution is divided by the norm of the ridge solution.

away = {k: [np.linalg.norm(paths[k][-1] - ridge) / np.linalg.norm(ridge) for ridge, _, paths in runs] for k in SHARES}
for label, values in away.items():
    length = interval(lengths[label][:, -1])
    print(f"{label}: distance from the ridge solution {interval(values):.1%}, norm of the weights {length:.2f}")

assert interval(away["B/T"]).high < 0.05
assert interval(away["whole penalty in every batch"]).low > 0.2
assert interval(lengths["online, B/t"][:, -1] - ridge).low > 0
assert interval(free - lengths["online, B/t"][:, -1]).low > 0
