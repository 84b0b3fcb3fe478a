"""A sparse auto-encoder.

    h = sigmoid(x W + b),  r = h V + c;    minimise mean (x - r)^2 + weight * sum over units of KL(rho, mean of h)

Two auto-encoders with 64 hidden units learn the digits, without and with a penalty (rho = 0.05). Without it a unit has a mean activation of
{dense:.2f}, with it of {sparse:.2f}; the error of the pictures that come back is {dense_error:.4f} and {sparse_error:.4f}, where the mean
picture has {mean_error:.3f}. With the penalty more of the units answer to strokes in one place.

Checked: `sparse < 0.5 * dense and sparse_error < 0.5 * mean_error`
"""

import numpy as np
from gallery import load, picture

from fusedstep import nn

HIDDEN = 64


def main():
    """Draw the weights into the hidden units that are used most, and their mean activations."""
    data = load("digits")
    penalties = {"dense": None, "sparse": nn.KLActivity(0.03, rho=0.05)}
    numbers = {"mean_error": np.mean((data.x - data.x.mean(axis=0)) ** 2)}
    with picture("64_sparse_autoencoder", 3, size=(8.0, 3.2)) as (left, middle, right):
        for ax, (name, penalty) in zip((left, middle), penalties.items(), strict=True):
            (stack,) = nn.pretrain(data.x, [HIDDEN], penalty=penalty, epochs=60, lr=0.01)
            layer = stack.layers[0]
            rates = (
                layer.autoencoder.layers[1]
                .forward(layer.autoencoder.layers[0].forward(data.x, False), False)
                .mean(axis=0)
            )
            order = np.argsort(-np.linalg.norm(layer.weight, axis=0))[:36]
            tiles = (layer.weight / np.abs(layer.weight).max(axis=0))[:, order].T.reshape(6, 6, 8, 8)
            ax.imshow(
                np.pad(tiles, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=1).swapaxes(1, 2).reshape(54, 54),
                cmap="gray",
            )
            ax.set(xticks=[], yticks=[], title=f"{name}: weights into 36 units")
            ax.grid(False)
            right.plot(np.sort(rates)[::-1], label=name)
            numbers |= {name: rates.mean(), f"{name}_error": stack.error}
        right.set(xlabel="hidden unit", ylabel="mean activation", ylim=(0, 1))
        right.legend()
    return numbers


if __name__ == "__main__":
    print(main())
