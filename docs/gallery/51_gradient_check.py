"""Gradient check.

    n_i = (f(theta + h e_i) - f(theta - h e_i)) / 2h,    error = max |g - n| / max(|g|, |n|) of each parameter

The gradients of a network with batch normalisation and dropout on {rows} wines agree with central differences to
{right:.0e} where the step h is neither too large nor so small that digits cancel. In float32 the error is never below
{single:.0e}; with a mistake, a bias gradient divided by the number of rows once too often, it is {wrong:.2f} or more.

Checked: `right < 1e-7 and wrong > 0.05 and single > 1e4 * right`
"""

import numpy as np
from gallery import load, picture

import fusedstep as fs
from fusedstep import inspect, nn

ROWS, STEPS = 40, np.geomspace(1e-8, 1e-2, 7)


def network(dtype):
    """Return two hidden layers with all that a gradient has to get through."""
    hidden = [nn.Linear(13, 4, bias=False), nn.BatchNorm(), nn.Tanh(), nn.Dropout(0.2), nn.Linear(4, 4), nn.Sigmoid()]
    return nn.Sequential(*hidden, nn.Linear(4, 3), dtype=dtype, rng=0)


def main():
    """Draw the error over the step."""
    data, loss, model = load("wine", ROWS), nn.SoftmaxNLL(), network(np.float32)
    f = inspect.objective(network(np.float64), loss, data.x, data.y, training=True)

    def mistaken(theta):
        value, gradient = f(theta)
        f.split(gradient)["4.bias"] /= ROWS
        return value, gradient

    def in_float32(theta):
        for i, layer in enumerate(model.layers):
            layer.sample(fs.Key(0).fold(i))
        model.arena[...] = theta
        value, dy = loss.value_and_gradient(model.forward(data.x, training=True), data.y)
        model.backward(dy)
        return value, model.grad_arena

    mistaken.shapes = in_float32.shapes = f.shapes  # compared parameter by parameter, as f
    functions = {"right, float64": f, "one mistake, float64": mistaken, "right, float32": in_float32}
    errors = []
    with picture("51_gradient_check") as ax:
        for label, g in functions.items():
            errors.append([inspect.check_gradient(g, f.theta, step=step).error for step in STEPS])
            ax.plot(STEPS, errors[-1], marker="o", markersize=4, label=label)
        ax.axhline(1e-7, color="0.4", linestyle=":", label="tolerance")
        ax.set(xlabel="step h of the differences", ylabel="largest relative error", xscale="log", yscale="log")
        ax.legend(loc="center left")
    return dict(zip(("right", "wrong", "single"), map(min, errors), strict=True), rows=ROWS)


if __name__ == "__main__":
    print(main())
