"""Outputs and their losses.

    linear + squared error      sigmoid + binary cross-entropy: -t log p - (1 - t) log(1 - p)
    softmax + negative log-likelihood: -log p[label]      hinge: sum over j of max(0, z_j - z_label + 1)

Each loss as it pushes a score z that should be high: the cross-entropy of a sigmoid pushes with 1 - p however wrong z
is, the squared error through a sigmoid, not a pair, lets go at z = -6 ({lost:.3f} against {kept:.2f}). On the digits
all four pairs are right on {worst:.1%} to {best:.1%} of the test rows after {epochs} epochs.

Checked: `lost < 0.02 and kept > 0.9 and worst > 0.9`
"""

import numpy as np
from gallery import accuracy, load, mlp, picture, training

import fusedstep as fs
from fusedstep import nn
from fusedstep.augment import one_hot

EPOCHS = 15


def main():
    """Draw the push of each loss and how the networks learn."""
    data, right = load("digits"), {}
    z = np.linspace(-6, 6, 121).reshape(-1, 1)
    p, up = 1 / (1 + np.exp(-z)), np.ones((1, 1))
    cross = np.array([nn.BinaryCrossEntropy().gradient(row[None], up)[0, 0] for row in z])
    squared = np.array([nn.MeanSquaredError().gradient(row[None], up)[0, 0] for row in z])
    through = np.array([nn.MeanSquaredError().gradient(row[None], up)[0, 0] for row in p]) * (p * (1 - p))[:, 0]
    hinge = [nn.MulticlassHinge().gradient(np.array([[row, 0.0]]), np.array([0]))[0, 0] for row in z[:, 0]]
    pushes = {"squared error": squared, "cross-entropy": cross, "hinge": hinge}
    with picture("63_outputs_and_losses", 2) as (left, scores):
        for label, push in (pushes | {"sigmoid + squared": through}).items():
            left.plot(z, -np.asarray(push), label=label)
        left.set(xlabel="score z", ylabel="push on z: minus the gradient", ylim=(-0.2, 2.6))
        left.legend(loc="upper left")
        targets = {nn.MeanSquaredError: one_hot(data.y, 10), nn.BinaryCrossEntropy: one_hot(data.y, 10)}
        for loss in (nn.MeanSquaredError, nn.BinaryCrossEntropy, nn.MulticlassHinge, nn.SoftmaxNLL):
            model = mlp(64, 32, 10, rng=0)
            y = targets.get(loss, data.y)
            epochs = training(model, fs.Adam(model.params, lr=3e-3), data.x, y, epochs=EPOCHS, loss=loss())
            right[loss] = [accuracy(model, data.x_test, data.y_test) for _ in epochs]
            scores.plot(range(1, EPOCHS + 1), right[loss], label=loss.__name__)
        scores.set(xlabel="epoch", ylabel="share of right answers, test rows", ylim=(0.5, 1))
        scores.legend()
    last = [curve[-1] for curve in right.values()]
    return {"lost": -through[0], "kept": -cross[0], "worst": min(last), "best": max(last), "epochs": EPOCHS}


if __name__ == "__main__":
    print(main())
