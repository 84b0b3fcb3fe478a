"""A narrow valley.

    L(w) = mean((x w - y)^2) / 2,   kappa = largest / smallest eigenvalue of x^T x / n
    momentum: a <- beta a + g,  theta <- theta - eta a;   Nesterov: the same with g taken at theta - eta beta a

Telling tumours apart by their radius and area, which nearly say the same, is a valley with kappa = {kappa:.0f}. At
the same rate gradient descent needs {sgd} steps to come within 0.01 of the minimum and stay there, momentum
{momentum} and Nesterov's look-ahead, which swings less, {nag}; Adam needs {adam}.

Checked: `kappa > 100 and sgd > 5 * momentum and momentum >= nag and sgd > adam`
"""

from contextlib import nullcontext

import numpy as np
from gallery import load, picture

import fusedstep as fs


def path(optimizer, x, y, **options):
    """Return the points that an optimizer goes through in 1000 steps."""
    w = np.array([0.2, -0.6])
    opt, points = optimizer([w], **options), [w.copy()]
    for _ in range(1000):
        with opt.lookahead() if optimizer is fs.NAG else nullcontext():
            gradient = x.T @ (x @ w - y) / len(x)
        opt.step([gradient])
        points.append(w.copy())
    return np.array(points)


def main():
    """Draw the paths on the contours of the loss, and how far they still have to go."""
    data = load("breast_cancer", dtype=np.float64)
    x, y = data.x[:, [0, 3]], 2.0 * data.y - 1
    (low, high), best = np.linalg.eigvalsh(x.T @ x / len(x)), np.linalg.lstsq(x, y)[0]
    paths = {
        "gradient descent": path(fs.SGD, x, y, lr=1 / high),
        "momentum 0.9": path(fs.SGD, x, y, lr=1 / high, momentum=0.9),
        "Nesterov 0.9": path(fs.NAG, x, y, lr=1 / high, momentum=0.9),
        "Adam, lr 0.1": path(fs.Adam, x, y, lr=0.1),
    }
    with picture("13_narrow_valley", 2) as (left, right):
        u, v = np.meshgrid(np.linspace(-1.8, 0.4, 80), np.linspace(-0.9, 1.2, 80))
        loss = np.mean((u[..., None] * x[:, 0] + v[..., None] * x[:, 1] - y) ** 2, axis=-1) / 2
        left.contour(u, v, loss, levels=loss.min() + np.geomspace(0.003, 4, 12), colors="0.8", linewidths=0.8)
        for label, points in paths.items():
            left.plot(*points.T, marker=".", markersize=3, linewidth=1)
            right.plot(np.linalg.norm(points - best, axis=1), label=label)
        left.set(xlabel="weight of the radius", ylabel="weight of the area")
        right.set(xlabel="step", ylabel="distance to the minimum", yscale="log", ylim=(1e-6, 10))
        right.legend()
    steps = [1 + np.flatnonzero(np.linalg.norm(p - best, axis=1) > 0.01)[-1] for p in paths.values()]
    return dict(zip(("sgd", "momentum", "nag", "adam"), steps, strict=True), kappa=high / low)


if __name__ == "__main__":
    print(main())
