"""AdamW against Adam with L2.

    Adam + L2: g += lambda theta, and sqrt(v) divides both      AdamW: theta <- theta (1 - eta lambda), then Adam's step

Every point is a pixel of the digits: how large the gradients of its weights are, and how much of their size is left
when they are decayed. AdamW shrinks the middle four fifths of the pixels by factors that differ {adamw_spread:.1f}
times, whatever their gradients, Adam with L2 by factors that differ {adam_spread:.0f} times: there decay is strong
just where the data say nothing.

Finding: on the test rows it makes no difference: {adamw_right:.1%} right with AdamW, {adam_right:.1%} with Adam and
L2, {plain_right:.1%} without.

Checked: `adam_spread > 3 * adamw_spread and abs(adamw_right - adam_right) < 0.02`
"""

import numpy as np
from gallery import accuracy, load, mlp, picture, training

import fusedstep as fs


def learn(data, optimizer, decay):
    """Return the size of each pixel's weights, of their gradients, and the share of right answers."""
    model = mlp(64, 32, 10, rng=0)
    opt = optimizer(model.params, lr=3e-3, weight_decay=decay)
    list(training(model, opt, data.x, data.y, epochs=40))
    gradients = np.sqrt(opt.state["0.weight"]["exp_avg_sq"].mean(axis=1))
    return np.linalg.norm(model.params["0.weight"], axis=1), gradients, accuracy(model, data.x_test, data.y_test)


def main():
    """Draw what is left of the weights over the size of the gradients."""
    data = load("digits")
    plain, gradients, right = learn(data, fs.Adam, 0.0)
    numbers = {"plain_right": right}
    with picture("22_adamw") as ax:
        for name, label, optimizer, decay in (
            ("adam", "Adam + L2, lambda 0.003", fs.Adam, 3e-3),
            ("adamw", "AdamW, lambda 0.3", fs.AdamW, 0.3),
        ):
            size, _, right = learn(data, optimizer, decay)
            left = size / plain
            ax.plot(np.maximum(gradients, 1e-9), left, "o" if name == "adam" else "s", markersize=4, label=label)
            low, high = np.quantile(left, [0.1, 0.9])
            numbers |= {f"{name}_right": right, f"{name}_spread": high / low}
        ax.set(xlabel="root mean square of the gradients of a pixel's weights (1e-9: none)", xscale="log")
        ax.set(ylabel="size with decay / size without", yscale="log")
        ax.legend()
    return numbers


if __name__ == "__main__":
    print(main())
