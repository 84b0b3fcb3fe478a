"""
Gradient descent: batch, mini-batch, stochastic
===============================================

.. code-block:: text

    theta <- theta - eta * 1/B * sum of the gradients of B rows        B = all, 32, 1

theta are the weights of a network, which learns 384 digits by plain gradient descent. The page compares three batch
sizes: B rows per step, where B is 384 (all rows), 32 or 1. The learning rate eta is 0.1 for all batch sizes.
"""

import numpy as np
from shared import SEEDS, band, interval, load, mlp, subplots

import fusedstep as fs
from fusedstep import nn

ROWS, EPOCHS, RATE = 384, 15, 0.1


def losses(size, seed):
    """Train with batches of `size` rows. Return step numbers, and the loss on all rows after each of these steps."""
    data, rng = load("digits", ROWS, seed), np.random.default_rng(seed)
    model, loss = mlp(64, 32, 10, rng=seed), nn.SoftmaxNLL()
    opt = fs.SGD(model.params, lr=RATE)
    steps = EPOCHS * ROWS // size
    seen = {*range(EPOCHS + 1), *np.geomspace(1, steps, 60).astype(int), *range(0, steps + 1, steps // EPOCHS)}
    found = [(0, loss(model.predict(data.x), data.y))]
    for step in range(1, steps + 1):
        rows = rng.choice(ROWS, size, replace=False)
        model.backward(loss.gradient(model.forward(data.x[rows], training=True), data.y[rows]))
        opt.step(model.grads)
        if step in seen:
            found.append((step, loss(model.predict(data.x), data.y)))
    return np.transpose(found)


# %%
# Loss after each pass over the rows, and loss after each step
# ------------------------------------------------------------
#
# Each step draws B rows at random. Here, a pass over the rows means 384 / B steps, thus 384 drawn rows.

NAMES = {ROWS: f"batch (B = {ROWS})", 32: "mini-batch (B = 32)", 1: "stochastic (B = 1)"}
runs = {size: np.array([losses(size, seed) for seed in SEEDS]) for size in NAMES}
left, right = subplots(2)
for size, found in runs.items():
    steps, curves = found[0, 0], found[:, 1]
    band(left, steps * size / ROWS, curves, NAMES[size])
    band(right, steps[1:], curves[:, 1:])
left.set(
    xlabel="passes over the rows", ylabel="training loss", yscale="log", title="Small batches: lower loss at each pass"
)
right.set(xlabel="steps", ylabel="training loss", xscale="log", title="B = 32 and B = 384: similar loss at each step")
_ = left.legend()

# %%
# After the same number of passes, the loss is lower with smaller batches, because a pass with small batches has more
# steps. After the same number of steps, the loss with batches of 32 rows is nearly the same as with batches of 384
# rows. With batches of one row, the loss is higher.

last = {size: found[:, 1, -1] for size, found in runs.items()}
early = {size: found[:, 1, EPOCHS] for size, found in runs.items()}
for size, name in NAMES.items():
    print(
        f"{name}: loss {interval(last[size]):.3f} after {EPOCHS} passes, "
        f"{interval(early[size]):.2f} after {EPOCHS} steps"
    )

assert interval(last[ROWS] - last[32]).low > 0
assert interval(last[32] - last[1]).low > 0
assert interval(early[1] - early[ROWS]).low > 0
assert abs(interval(early[32] - early[ROWS]).mean) < 0.05
