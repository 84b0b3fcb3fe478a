"""Momentum against plateaus and saddles.

    a <- beta a + g,   theta <- theta - eta a        (beta = 0: gradient descent)

Four layers of tanh that start with small weights lie near a saddle, where all classes look alike and the gradient is
nearly nothing. At the same rate plain gradient descent needs {plain} epochs to bring the loss below 2, momentum 0.9
needs {momentum} and Adam {adam}.

Finding: on this plateau momentum is worth what a larger rate is worth: plain gradient descent at ten times the rate
needs {tenfold} epochs.

Checked: `plain > 4 * momentum and adam <= momentum and tenfold <= momentum`
"""

import numpy as np
from gallery import load, picture, training

import fusedstep as fs
from fusedstep import init, nn

EPOCHS = 50


def network():
    """Return four layers whose weights are a fifth of Glorot's."""
    widths = (64, 32, 32, 32, 10)
    linear = [nn.Linear(*widths[i : i + 2], weight_init=init.glorot(scale=0.2)) for i in range(4)]
    return nn.Sequential(linear[0], nn.Tanh(), linear[1], nn.Tanh(), linear[2], nn.Tanh(), linear[3], rng=0)


def main():
    """Draw the loss over the epochs."""
    data = load("digits")
    optimizers = {
        "plain, lr 0.05": lambda params: fs.SGD(params, lr=0.05),
        "momentum 0.9, lr 0.05": lambda params: fs.SGD(params, lr=0.05, momentum=0.9),
        "Adam, lr 0.003": lambda params: fs.Adam(params, lr=0.003),
        "plain, lr 0.5": lambda params: fs.SGD(params, lr=0.5),
    }
    epochs_needed = []
    with picture("14_momentum_plateau") as ax:
        for label, make in optimizers.items():
            model = network()
            losses = np.array(list(training(model, make(model.params), data.x, data.y, epochs=EPOCHS)))
            ax.plot(range(1, EPOCHS + 1), losses, label=label)
            epochs_needed.append(1 + int(np.argmax(losses < 2)))
        ax.set(xlabel="epoch", ylabel="training loss (mean over the epoch)")
        ax.legend()
    return dict(zip(("plain", "momentum", "adam", "tenfold"), epochs_needed, strict=True))


if __name__ == "__main__":
    print(main())
