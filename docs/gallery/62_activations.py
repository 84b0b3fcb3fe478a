"""Non-linearities.

    ReLU: max(x, 0)      tanh      hard tanh: min(max(x, -1), 1)      sigmoid: 1 / (1 + exp(-x))

Networks with four hidden layers on the digits, each non-linearity at the best of {rates} rates. After {epochs} epochs
ReLU has a training loss of {relu:.3f}, tanh {tanh:.3f}, hard tanh {hardtanh:.3f}, and the sigmoid, whose slope is
never above 1/4, {sigmoid:.2f}.

Checked: `sigmoid > 3 * max(relu, tanh, hardtanh)`
"""

import numpy as np
from gallery import load, mlp, picture, training

import fusedstep as fs
from fusedstep import nn

EPOCHS, RATES = 10, [0.03, 0.1, 0.3, 1.0]


def main():
    """Draw the functions and the losses."""
    data, last = load("digits"), {}
    x = np.linspace(-4, 4, 161).reshape(-1, 1).astype(np.float32)
    with picture("62_activations", 2) as (left, right), np.errstate(all="ignore"):
        for kind in (nn.ReLU, nn.Tanh, nn.HardTanh, nn.Sigmoid):
            runs = []
            for rate in RATES:
                model = mlp(64, 32, 32, 32, 32, 10, activation=kind, rng=0)
                runs.append(list(training(model, fs.SGD(model.params, lr=rate), data.x, data.y, epochs=EPOCHS)))
            best = int(np.nanargmin([run[-1] for run in runs]))
            left.plot(x, nn.Sequential(kind()).predict(x), label=kind.__name__)
            right.plot(range(1, EPOCHS + 1), runs[best], label=f"{kind.__name__}, lr {RATES[best]:g}")
            last[kind.__name__.lower()] = runs[best][-1]
        left.set(xlabel="x", ylabel="y", ylim=(-1.5, 2.5))
        right.set(xlabel="epoch", ylabel="training loss", yscale="log")
        right.legend()
    return last | {"epochs": EPOCHS, "rates": len(RATES)}


if __name__ == "__main__":
    print(main())
