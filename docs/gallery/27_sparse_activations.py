"""Sparse activations.

    L1: sum |h|      Student-t: sum log(1 + h^2)      KL: sum over units of KL(rho, mean activation of the unit)

Penalties on the 64 hidden units of a network on the digits. Without one, a unit is active (above 0.1) for {none:.0%}
of the test rows on average; with L1 for {l1:.0%}, with Student-t for {student:.0%}. KL on sigmoid units with rho =
0.05 brings them from {sigmoid:.0%} to {kl:.0%}; the answers stay right in {worst:.1%} or more.

Checked: `l1 < 0.5 * none and student < 0.7 * none and kl < 0.5 * sigmoid and worst > 0.93`
"""

import numpy as np
from gallery import accuracy, load, picture, training

import fusedstep as fs
from fusedstep import nn

NETWORKS = {
    "none": ("ReLU", [nn.ReLU]),
    "l1": ("ReLU, L1", [nn.ReLU, lambda: nn.L1Activity(0.01)]),
    "student": ("ReLU, Student-t", [nn.ReLU, lambda: nn.StudentTActivity(0.03)]),
    "sigmoid": ("sigmoid", [nn.Sigmoid]),
    "kl": ("sigmoid, KL", [nn.Sigmoid, lambda: nn.KLActivity(0.1, rho=0.05)]),
}


def main():
    """Draw how often each unit is active."""
    data, numbers, right = load("digits"), {}, []
    with picture("27_sparse_activations") as ax:
        for name, (label, makers) in NETWORKS.items():
            model = nn.Sequential(nn.Linear(64, 64), *(make() for make in makers), nn.Linear(64, 10), rng=0)
            list(training(model, fs.Adam(model.params, lr=3e-3), data.x, data.y, epochs=40))
            hidden = model.layers[1].forward(model.layers[0].forward(data.x_test, False), False)
            active = np.sort((hidden > 0.1).mean(axis=0))[::-1]
            right.append(accuracy(model, data.x_test, data.y_test))
            ax.plot(active, label=f"{label}: right in {right[-1]:.1%}")
            numbers[name] = active.mean()
        ax.set(xlabel="hidden unit, by activity", ylabel="share of test rows with activation > 0.1", ylim=(0, 1.05))
        ax.legend(loc=(0.02, 0.43))
    return numbers | {"worst": min(right)}


if __name__ == "__main__":
    print(main())
