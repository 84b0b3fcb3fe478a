"""Small and large batches, and the sharpness they reach.

    sharpness = 100 (max f(theta + z) - f(theta)) / (1 + f(theta)),   |z_i| <= epsilon (|theta_i| + 1)

A network takes {steps} steps on 600 digits, with the same falling rate, in batches of 4 to 600 rows, and comes to
nearly the same training loss ({low:.3f} to {high:.3f}). After batches of 4 its sharpness (epsilon = 0.01) is
{small:.1f} and the largest eigenvalue of its Hessian {small_curvature:.2f}, after batches of all rows {large:.1f} and
{large_curvature:.2f}.

Finding: that flat minima generalise better does not show here. On the test rows {small_right:.1%} and
{large_right:.1%} are right.

Checked: `large > 1.3 * small and large_curvature > 1.3 * small_curvature and high < 1.5 * low and abs(small_right -
large_right) < 0.02`
"""

import numpy as np
from gallery import accuracy, load, mlp, picture, training

import fusedstep as fs
from fusedstep import inspect, nn

STEPS, ROWS, SIZES = 1500, 600, [4, 12, 60, 200, 600]


def learn(data, size):
    """Return sharpness, largest curvature, training loss and share of right answers."""
    model, loss = mlp(64, 16, 10, activation=nn.Tanh, rng=0), nn.SoftmaxNLL()
    opt = fs.SGD(model.params, lr=fs.schedules.cosine(0.3, STEPS))
    list(training(model, opt, data.x, data.y, epochs=STEPS * size // ROWS, batch=size))
    f = inspect.objective(model, loss, data.x, data.y)
    curvature = inspect.extreme_eigenvalues(f, tol=1e-3).largest[0]
    return inspect.sharpness(f, epsilon=0.01), curvature, f.value(f.theta), accuracy(model, data.x_test, data.y_test)


def main():
    """Draw sharpness and curvature over the batch size."""
    data = load("digits", ROWS)
    sharp, curved, losses, right = np.transpose([learn(data, size) for size in SIZES])
    with picture("15_batch_size_and_sharpness", 2) as (left, other):
        for ax, values, label in (
            (left, sharp, "sharpness, percent"),
            (other, curved, "largest eigenvalue of the Hessian"),
        ):
            ax.plot(SIZES, values, marker="o")
            ax.set(xlabel="batch size (rows)", ylabel=label, xscale="log", ylim=(0, None))
            ax.set_xticks(SIZES, [str(size) for size in SIZES])
            ax.minorticks_off()
    numbers = {"steps": STEPS, "low": losses.min(), "high": losses.max(), "small": sharp[0], "large": sharp[-1]}
    numbers |= {"small_curvature": curved[0], "large_curvature": curved[-1]}
    return numbers | {"small_right": right[0], "large_right": right[-1]}


if __name__ == "__main__":
    print(main())
