"""
Small and large batches, and the sharpness of the minimum
=========================================================

.. code-block:: text

    sharpness = 100 (max_z f(theta + z) - f(theta)) / (1 + f(theta)),   |z_i| <= epsilon (|theta_i| + 1)

f is the loss on all training rows, as a function of the weights theta. z is a small change of the weights, and epsilon
limits its size. The sharpness says how much f can grow through such a change, in percent of 1 + f(theta). On this page,
epsilon is 0.01.

A network is trained for 1,500 steps on 600 digits, in batches of 4, 60 or 600 rows. The learning rate follows the same
schedule for all batch sizes. After the training, the page measures the sharpness and the largest eigenvalue of the
Hessian at the final weights.
"""

import numpy as np
from shared import SEEDS, accuracy, bars, interval, load, mlp, subplots, training

import fusedstep as fs
from fusedstep import inspect, nn

STEPS, ROWS, SIZES = 1500, 600, [4, 60, 600]


def learn(size, seed):
    """Train a network. Return its sharpness, largest Hessian eigenvalue, training loss and accuracy on test rows."""
    data, model, loss = load("digits", ROWS, seed), mlp(64, 16, 10, activation=nn.Tanh, rng=seed), nn.SoftmaxNLL()
    opt = fs.SGD(model.params, lr=fs.schedules.cosine(0.3, STEPS))
    list(training(model, opt, data.x, data.y, epochs=STEPS * size // ROWS, batch=size, seed=seed))
    f = inspect.objective(model, loss, data.x, data.y)
    curvature = inspect.extreme_eigenvalues(f, tol=1e-2).largest[0]
    right = accuracy(model, data.x_test, data.y_test)
    return inspect.sharpness(f, epsilon=0.01), curvature, f.value(f.theta), right


found = np.array([[learn(size, seed) for size in SIZES] for seed in SEEDS])  # (seed, size, quantity)
panels = subplots(3, size=(9.0, 3.4))
labels = ("sharpness, percent", "largest eigenvalue of the Hessian", None, "accuracy on the test rows")
titles = ("Large batches: sharper minima", "Large batches: larger curvature", None, "All batch sizes: similar accuracy")
for axes, column in zip(panels, (0, 1, 3), strict=True):
    bars(axes, SIZES, found[:, :, column], fmt="o-")
    axes.set(xlabel="batch size (rows)", ylabel=labels[column], xscale="log", title=titles[column])
    axes.set_xticks(SIZES, [str(size) for size in SIZES])
    axes.minorticks_off()

# %%
# Training with batches of 600 rows ends in a sharper minimum than training with batches of 4 rows. The final training
# losses are similar. Textbooks say that flat minima (minima with a low sharpness) generalise better. These runs do not
# confirm this: for batches of 4 and of 600 rows, the accuracies on the test rows differ by less than one percentage
# point.

for size, values in zip(SIZES, found.swapaxes(0, 1), strict=True):
    sharp, curved, loss, right = (interval(column) for column in values.T)
    print(
        f"batches of {size} rows: sharpness {sharp:.1f}%, largest eigenvalue {curved:.2f}, "
        f"training loss {loss:.3f}, accuracy on the test rows {right:.1%}"
    )

small, large = found[:, 0], found[:, -1]
assert interval(large[:, 0] - 1.2 * small[:, 0]).low > 0
assert interval(large[:, 1] - 1.2 * small[:, 1]).low > 0
assert interval(large[:, 2] / small[:, 2]).high < 1.5
assert abs(interval(large[:, 3] - small[:, 3]).mean) < 0.01
