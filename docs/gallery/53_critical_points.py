"""
Critical points
===============

A network of tanh units learns 300 images of digits. Its initial weights are very small. g is the gradient of the loss,
and H is the Hessian of the loss.

.. code-block:: text

    critical point: |g| = 0        kinds of critical points, by the eigenvalues of H:
        all > 0: minimum      all < 0: maximum      both signs: saddle      all nearly 0: plateau

The page shows how the loss, the norm of g, and the largest and the smallest eigenvalue of H change during the training,
for five seeds.
"""

import numpy as np
from shared import SEEDS, band, interval, load, subplots, training

import fusedstep as fs
from fusedstep import init, inspect, nn

EPOCHS, EVERY = 100, 10


def run(seed):
    """Train a network. Return the kind of its start point, and four quantities (see `look`) for every tenth epoch."""
    data, loss, small = load("digits", 300, seed), nn.SoftmaxNLL(), init.glorot(scale=0.02)
    model = nn.Sequential(nn.Linear(64, 8, weight_init=small), nn.Tanh(), nn.Linear(8, 10, weight_init=small), rng=seed)
    model.params["2.bias"][:] = np.log(np.bincount(data.y) / len(data.y))  # softmax of the biases = class frequencies
    kinds, values = [], []

    def look():
        """Append the kind of the present point to `kinds`, and its loss, gradient norm and eigenvalues to `values`."""
        f = inspect.objective(model, loss, data.x, data.y)
        point = inspect.critical_point(f, gradient_tol=0.02)
        kinds.append(point.kind)
        values.append((f.value(f.theta), point.gradient_norm, point.largest, point.smallest))

    look()
    opt = fs.SGD(model.params, lr=0.1)
    for epoch, _ in enumerate(training(model, opt, data.x, data.y, epochs=EPOCHS, seed=seed), 1):
        if epoch % EVERY == 0:
            look()
    return kinds[0], np.transpose(values)


runs = [run(seed) for seed in SEEDS]
found = np.array([values for _, values in runs])  # (seed, quantity, time)
epochs = range(0, EPOCHS + 1, EVERY)
left, right = subplots(2)
band(left, epochs, found[:, 0], "loss")
band(left, epochs, found[:, 1], "norm of the gradient")
left.set(xlabel="epoch", title="The loss falls slowly at first")
left.legend()
band(right, epochs, found[:, 2], "largest eigenvalue")
band(right, epochs, found[:, 3], "smallest eigenvalue")
right.set(xlabel="epoch", ylabel="eigenvalue of the Hessian", title="Largest and smallest eigenvalue")
right.set_yscale("symlog", linthresh=0.01)
_ = right.legend(loc="center right")

# %%
# All runs start at a saddle: the gradient is nearly zero, and the Hessian has positive and negative eigenvalues. At the
# end, the smallest eigenvalue is much closer to zero than at the start.

start, end = found[:, :, 0], found[:, :, -1]
print(f"start points: {', '.join(kind for kind, _ in runs)}; norm of the gradient {interval(start[:, 1]):.3f}")
print(f"smallest eigenvalue {interval(start[:, 3]):.2f} at the start, {interval(end[:, 3]):.3f} at the end")

assert all(kind == "saddle" for kind, _ in runs)
assert interval(start[:, 3]).high < -0.1
assert interval(end[:, 3] - 0.2 * start[:, 3]).low > 0
