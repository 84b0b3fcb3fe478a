"""Gradient descent: batch, mini-batch, stochastic.

    theta <- theta - eta * 1/B * sum of the gradients of B rows        B = all, 32, 1

After {epochs} passes over the same 384 digits at the same rate, the whole batch has taken {epochs} steps and stands
at a loss of {batch:.2f}; batches of 32 stand at {mini:.3f} and single rows at {single:.4f}. Per step the order turns
round: after {epochs} steps batches of 32 stand at {mini_early:.2f}, no better than the whole batch (the curves lie on
each other), and single rows at {single_early:.2f}.

Checked: `batch > 5 * mini and mini > 2 * single and single_early > batch + 0.1 and abs(mini_early - batch) < 0.05`
"""

import numpy as np
from gallery import load, mlp, picture

import fusedstep as fs
from fusedstep import nn

ROWS, EPOCHS, RATE = 384, 15, 0.1


def losses(size: int) -> np.ndarray:
    """Train with batches of this size; the loss of all rows after ever more steps."""
    data, rng = load("digits", ROWS), np.random.default_rng(0)
    model, loss = mlp(64, 32, 10, rng=0), nn.SoftmaxNLL()
    opt = fs.SGD(model.params, lr=RATE)
    found, steps = [(0, loss(model.predict(data.x), data.y))], EPOCHS * ROWS // size
    seen = {*range(EPOCHS + 1), *np.geomspace(1, steps, 80).astype(int), *range(0, steps + 1, steps // EPOCHS)}
    for step in range(1, steps + 1):
        rows = rng.choice(ROWS, size, replace=False)
        model.backward(loss.gradient(model.forward(data.x[rows], training=True), data.y[rows]))
        opt.step(model.grads)
        if step in seen:
            found.append((step, loss(model.predict(data.x), data.y)))
    return np.array(found)


def main() -> dict[str, float]:
    """Draw the loss over the rows seen and over the steps."""
    runs = {
        f"batch (B = {ROWS})": (ROWS, losses(ROWS)),
        "mini-batch (B = 32)": (32, losses(32)),
        "stochastic (B = 1)": (1, losses(1)),
    }
    with picture("11_batch_sizes", 2) as (left, right):
        for label, (size, curve) in runs.items():
            left.plot(curve[:, 0] * size / ROWS, curve[:, 1], label=label)
            right.plot(curve[1:, 0], curve[1:, 1], linewidth=4 if size == ROWS else 1.6)
        left.set(xlabel="passes over the rows", ylabel="training loss", yscale="log", title="the same work")
        right.set(xlabel="steps", ylabel="training loss", xscale="log", title="the same number of steps")
        left.legend()
    batch, mini, single = (curve for _, curve in runs.values())
    numbers = {"batch": batch[-1, 1], "mini": mini[-1, 1], "single": single[-1, 1]}
    return numbers | {"epochs": EPOCHS, "mini_early": mini[EPOCHS, 1], "single_early": single[EPOCHS, 1]}


if __name__ == "__main__":
    print(main())
