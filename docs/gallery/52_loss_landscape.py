"""Loss landscapes.

    plane: f(theta + a d1 + b d2), d random, each filter as long as the weights' own
    line:  f(theta + a (theta' - theta))

Around a trained network the loss climbs on all sides; on the way from its first weights it falls without a bump.
Between two solutions, from two seeds, lies a ridge {ridge:.2f} high, where the loss at both ends is {solution:.3f}:
the loss is not convex, as it is for a network without a hidden layer.

Checked: `ridge > 10 * solution and convex and not network_convex`
"""

import numpy as np
from gallery import load, mlp, picture, training

import fusedstep as fs
from fusedstep import inspect, nn


def learn(data, *widths, seed):
    """Return the loss as a function of the weights, the first weights and the trained ones."""
    model = mlp(*widths, rng=seed)
    first = model.arena.astype(np.float64)
    opt = fs.SGD(model.params, lr=0.1, momentum=0.9, weight_decay=1e-3)
    list(training(model, opt, data.x, data.y, epochs=60))
    f = inspect.objective(model, nn.SoftmaxNLL(), data.x, data.y)
    return f, first, f.theta


def main():
    """Draw a plane and three lines."""
    data = load("digits", 300)
    f, first, theta = learn(data, 64, 32, 10, seed=0)
    _, _, other = learn(data, 64, 32, 10, seed=1)
    g, linear_first, linear = learn(data, 64, 10, seed=0)
    lines = {
        "first weights (-1) to trained ones (0)": inspect.line(f, theta - first, span=(-1, 0)),
        "on to another seed's (1)": inspect.line(f, other - theta, span=(0, 1)),
        "without a hidden layer": inspect.line(g, linear - linear_first, span=(-1, 1)),
    }
    with picture("52_loss_landscape", 2) as (left, right):
        directions = (inspect.random_direction(f, fs.Key(seed)) for seed in (1, 2))
        inspect.plane(f, *directions).plot(left, log=True)
        for label, found in lines.items():
            found.plot(right, label=label)
        right.set(yscale="log", ylim=(0.01, 100), xlabel="step along the line")
        right.legend(loc="upper right")
    between, straight = list(lines.values())[1:]
    numbers = {"ridge": between.values.max(), "solution": max(between.values[0], between.values[-1])}
    return numbers | {"convex": straight.is_convex(), "network_convex": between.is_convex()}


if __name__ == "__main__":
    print(main())
