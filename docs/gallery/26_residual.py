"""Residual blocks.

    y = max(0, BN(W x) + x)        without the residual: y = max(0, BN(W x))

Networks of ever more blocks of width 32 learn the digits for {epochs} epochs. At {deepest} blocks the training loss
is {residual:.2f} with the input of each block added to its output, and {plain:.2f} without.

Checked: `plain > 2 * residual`
"""

from gallery import load, picture, training

import fusedstep as fs
from fusedstep import nn

EPOCHS, DEPTHS = 8, [1, 2, 4, 8, 16, 32]


def network(depth, residual):
    """Return so many blocks between an input and an output layer."""
    layers = [nn.Linear(64, 32)]
    for _ in range(depth):
        block = [nn.Linear(32, 32, bias=False), nn.BatchNorm(relu=True)]
        layers += [nn.Residual(*block)] if residual else block
    return nn.Sequential(*layers, nn.Linear(32, 10), rng=0)


def main():
    """Draw the training loss over the depth."""
    data, last = load("digits"), {}
    with picture("26_residual") as ax:
        for label, residual in {"with residuals": True, "without": False}.items():
            losses = []
            for depth in DEPTHS:
                model = network(depth, residual)
                opt = fs.SGD(model.params, lr=0.05, momentum=0.9)
                losses.append(list(training(model, opt, data.x, data.y, epochs=EPOCHS))[-1])
            ax.plot(DEPTHS, losses, marker="o", markersize=4, label=label)
            last[label] = losses[-1]
        ax.set(xlabel="blocks", ylabel=f"training loss after {EPOCHS} epochs", xscale="log", yscale="log")
        ax.set_xticks(DEPTHS, [str(depth) for depth in DEPTHS])
        ax.legend()
    return {"residual": last["with residuals"], "plain": last["without"], "deepest": DEPTHS[-1], "epochs": EPOCHS}


if __name__ == "__main__":
    print(main())
