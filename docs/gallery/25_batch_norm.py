"""Batch normalisation over learning rates.

    y = gamma (x - mean) / sqrt(var + eps) + beta, mean and var of the batch (in prediction: running averages)

Five layers of ReLU on the digits, {epochs} epochs of plain gradient descent at each rate. With batch normalisation
{with_bn} of {rates} rates lead to more than 95% right answers on the test rows, without it {without_bn}.

Checked: `with_bn >= without_bn + 3`
"""

import numpy as np
from gallery import accuracy, load, picture, training

import fusedstep as fs
from fusedstep import nn

EPOCHS, RATES = 10, np.geomspace(1e-3, 10, 13)


def network(normalised):
    """Return five hidden layers of 64."""
    layers = []
    for n_in in (64,) * 5:
        linear = nn.Linear(n_in, 64, bias=not normalised)
        layers += [linear, nn.BatchNorm(relu=True) if normalised else nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 10), rng=0)


def main():
    """Draw the accuracy over the rate."""
    data = load("digits")
    good = {}
    with picture("25_batch_norm") as ax, np.errstate(all="ignore"):
        for label, normalised in {"with batch normalisation": True, "without": False}.items():
            right = []
            for rate in RATES:
                model = network(normalised)
                list(training(model, fs.SGD(model.params, lr=rate), data.x, data.y, epochs=EPOCHS))
                right.append(accuracy(model, data.x_test, data.y_test))
            ax.plot(RATES, right, marker="o", markersize=4, label=label)
            good[normalised] = sum(r > 0.95 for r in right)
        ax.set(xlabel="learning rate", ylabel="share of right answers, test rows", xscale="log", ylim=(0, 1))
        ax.legend(loc="lower center")
    return {"with_bn": good[True], "without_bn": good[False], "rates": len(RATES), "epochs": EPOCHS}


if __name__ == "__main__":
    print(main())
