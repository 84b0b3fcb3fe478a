"""Noise on inputs and on weights.

    inputs: x' = x + std z      weights: gradient at theta + std z, step at theta      z ~ N(0, 1), new for every batch

Both keep a 10-64-64-1 network from learning the diabetes set by heart: its mean squared error on the test rows after
{epochs} epochs is {plain:.2f} without noise, {inputs:.2f} with noise of 0.5 on the standardised inputs and
{weights:.2f} with noise of 0.1 on the weights.

Checked: `inputs < plain - 0.05 and weights < plain - 0.05`
"""

from gallery import load, mlp, picture, training

import fusedstep as fs
from fusedstep import nn
from fusedstep.augment import gaussian_noise, weight_noise

EPOCHS = 100


def learn(data, input_std, weight_std):
    """Return the error on the training and the test rows after every epoch."""
    model, loss, keys = mlp(10, 64, 64, 1, rng=0), nn.MeanSquaredError(), fs.Philox(0)
    opt = fs.Adam(model.params)
    epochs = training(
        model,
        opt,
        data.x,
        data.y,
        epochs=EPOCHS,
        loss=loss,
        change=lambda x, y: (gaussian_noise(x, input_std, keys.key()), y),
        around=lambda: weight_noise(model.params, weight_std, keys.key()),
    )
    return [(loss(model.predict(data.x), data.y), loss(model.predict(data.x_test), data.y_test)) for _ in epochs]


def main():
    """Draw the errors over the epochs."""
    data, last = load("diabetes"), {}
    noise = {"plain": ("no noise", 0.0, 0.0), "inputs": ("on inputs", 0.5, 0.0), "weights": ("on weights", 0.0, 0.1)}
    with picture("34_noise") as ax:
        for i, (name, (label, *std)) in enumerate(noise.items()):
            train, test = zip(*learn(data, *std), strict=True)
            ax.plot(range(1, EPOCHS + 1), test, label=f"{label}, test")
            ax.plot(range(1, EPOCHS + 1), train, linestyle=":", color=f"C{i}", label=f"{label}, training")
            last[name] = test[-1]
        ax.set(xlabel="epoch", ylabel="mean squared error, without noise", ylim=(0, 1.2))
        ax.legend(ncols=3, loc="upper center")
    return last | {"epochs": EPOCHS}


if __name__ == "__main__":
    print(main())
