"""Critical points.

    |g| = 0 and the eigenvalues of H: all > 0 minimum, all < 0 maximum, of both signs saddle, all nearly 0 plateau

A network of tanh layers on the digits that starts with tiny weights starts at a {kind}: the gradient is only
{gradient:.3f} long, and the smallest eigenvalue of the Hessian is {start:.2f}. For some epochs nothing seems to
happen; then the training has found the way down, and at its end the smallest eigenvalue is {end:.3f} and the largest
{top:.1f}.

Checked: `kind == 'saddle' and start < -0.001 and end > 10 * start`
"""

import numpy as np
from gallery import load, picture, training

import fusedstep as fs
from fusedstep import init, inspect, nn


def main():
    """Draw loss, gradient and the ends of the spectrum along the training."""
    data, loss = load("digits", 300), nn.SoftmaxNLL()
    small = init.glorot(scale=0.02)
    model = nn.Sequential(nn.Linear(64, 8, weight_init=small), nn.Tanh(), nn.Linear(8, 10, weight_init=small), rng=0)
    model.params["2.bias"][:] = np.log(np.bincount(data.y) / len(data.y))
    points, losses = [], []

    def look():
        f = inspect.objective(model, loss, data.x, data.y)
        points.append(inspect.critical_point(f, gradient_tol=0.02))
        losses.append(f.value(f.theta))

    look()
    for epoch, _ in enumerate(training(model, fs.SGD(model.params, lr=0.1), data.x, data.y, epochs=100), 1):
        if epoch % 4 == 0:
            look()
    with picture("53_critical_points", 2) as (left, right):
        epochs = range(0, 101, 4)
        left.plot(epochs, losses, label="loss")
        left.plot(epochs, [p.gradient_norm for p in points], label="length of the gradient")
        left.set(xlabel="epoch", yscale="log", ylabel="loss, length of the gradient")
        left.legend()
        right.plot(epochs, [p.largest for p in points], label="largest eigenvalue")
        right.plot(epochs, [p.smallest for p in points], label="smallest eigenvalue")
        right.set(xlabel="epoch", ylabel="eigenvalue of the Hessian")
        right.set_yscale("symlog", linthresh=0.01)
        right.legend()
    first, last = points[0], points[-1]
    numbers = {"kind": first.kind, "gradient": first.gradient_norm, "start": first.smallest}
    return numbers | {"end": last.smallest, "top": last.largest}


if __name__ == "__main__":
    print(main())
