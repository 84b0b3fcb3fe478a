"""Bias and variance.

    E (y - f)^2 = (y - E f)^2 + E (f - E f)^2        E: over training sets, drawn by bootstrap

Networks of growing width on the diabetes set, {rounds} bootstrap samples each. From {narrow} to {wide} hidden units
the variance grows from {low_variance:.2f} to {high_variance:.2f}, while the bias (with the noise of the targets) goes
from {low_bias:.2f} to {high_bias:.2f}; the mean of the {rounds} networks has the bias alone as its error.

Finding: more units do not lower the bias on these data; already one unit says what can be known.

Checked: `high_variance > 2 * low_variance and high_bias > low_bias - 0.02`
"""

from gallery import load, mlp, picture, training

import fusedstep as fs
from fusedstep import inspect, nn

WIDTHS, ROUNDS = [1, 2, 4, 8, 16, 32, 64], 8


def fit_with(width):
    """Return a function that trains a network of this width."""

    def fit(x, y):
        model = mlp(10, width, 1, activation=nn.Tanh, rng=0)
        opt = fs.Adam(model.params, lr=0.01)
        list(training(model, opt, x, y[:, None], epochs=60, loss=nn.MeanSquaredError()))
        return model

    return fit


def main():
    """Draw the parts of the error over the width."""
    data = load("diabetes")
    rows = data.x, data.y[:, 0], data.x_test, data.y_test[:, 0]
    parts = [inspect.bias_variance(fit_with(width), *rows, rounds=ROUNDS) for width in WIDTHS]
    with picture("48_bias_and_variance") as ax:
        for label in ("loss", "bias", "variance"):
            ax.plot(WIDTHS, [getattr(part, label) for part in parts], marker="o", markersize=4, label=label)
        ax.set(xlabel="hidden units", ylabel="mean squared error, test rows", xscale="log", ylim=(0, None))
        ax.set_xticks(WIDTHS, [str(width) for width in WIDTHS])
        ax.minorticks_off()
        ax.legend()
    first, last = parts[0], parts[-1]
    numbers = {"rounds": ROUNDS, "narrow": WIDTHS[0], "wide": WIDTHS[-1]}
    numbers |= {"low_variance": first.variance, "high_variance": last.variance}
    return numbers | {"low_bias": first.bias, "high_bias": last.bias}


if __name__ == "__main__":
    print(main())
