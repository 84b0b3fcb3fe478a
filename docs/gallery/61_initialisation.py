"""The scale of the first weights.

    Var(w) = scale^2 * 1/fan_in, 2/(fan_in + fan_out) (Glorot) or 2/fan_in (He)

Ten layers of ReLU on the digits: with He's weights the activations of the last layer spread about as much as the
first's (ratio {he_ratio:.2f}), with half of them they fade to {small_ratio:.0e} of the first's, with twice they grow
{large_ratio:.0f} times. After {epochs} epochs the training loss is {he:.2f} with He's, {small:.2f} with half (nothing
has been learnt) and {large:.2f} with twice (nan: the first steps overflow).

Checked: `he < 0.5 and small > 2 and not large < 2 and small_ratio < 0.01 and large_ratio > 100`
"""

import numpy as np
from gallery import load, picture, training

import fusedstep as fs
from fusedstep import init, nn

EPOCHS, DEPTH = 10, 10
SCALES = {"small": 0.5, "he": 1.0, "large": 2.0}


def network(scale):
    """Return ten layers of ReLU whose weights are He's times the scale."""
    weights = init.he(scale=scale)
    hidden = [layer for _ in range(DEPTH) for layer in (nn.Linear(64, 64, weight_init=weights), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(64, 10), rng=0)


def main():
    """Draw the spread of the activations at the start, and the loss."""
    data, numbers = load("digits"), {"epochs": EPOCHS}
    with picture("61_initialisation", 2) as (left, right), np.errstate(all="ignore"):
        for name, scale in SCALES.items():
            model, x, spread = network(scale), data.x, []
            for layer in model.layers[:-1]:
                x = layer.forward(x, False)
                if isinstance(layer, nn.ReLU):
                    spread.append(x.std())
            losses = list(training(model, fs.SGD(model.params, lr=0.02), data.x, data.y, epochs=EPOCHS))
            left.plot(range(1, DEPTH + 1), spread, marker="o", markersize=3, label=f"He x {scale:g}")
            right.plot(range(1, EPOCHS + 1), losses, label=f"He x {scale:g}")
            numbers |= {name: losses[-1], f"{name}_ratio": spread[-1] / spread[0]}
        left.set(xlabel="layer", ylabel="standard deviation of the activations", yscale="log", title="at the start")
        right.set(xlabel="epoch", ylabel="training loss", yscale="log")
        right.legend()
    return numbers


if __name__ == "__main__":
    print(main())
