"""A sparse auto-encoder.

    h = sigmoid(x W + b),  r = h V + c;    minimise mean (x - r)^2 + weight * sum over units of KL(rho, mean of h)

Two auto-encoders with {hidden} hidden units learn the digits; one has no penalty, the other one (rho = 0.05) and
noisy inputs. A unit of the first has a mean activation of {dense:.2f}, of the second {sparse:.2f}: there a digit is
put together from few units, each of which adds a piece of a stroke (middle). The error of the pictures that come back
is {dense_error:.4f} and {sparse_error:.4f}; that of the mean picture {mean_error:.4f}.

Checked: `sparse < 0.5 * dense and sparse_error < 0.5 * mean_error`
"""

import numpy as np
from gallery import load, mosaic, picture

from fusedstep import nn

HIDDEN = 64


def main():
    """Draw what 36 units add to a picture, and the mean activations."""
    data = load("digits")
    settings = {"dense": {}, "sparse": {"penalty": nn.KLActivity(0.01, rho=0.05), "noise": 0.3}}
    numbers = {"hidden": HIDDEN, "mean_error": np.mean((data.x - data.x.mean(axis=0)) ** 2)}
    with picture("64_sparse_autoencoder", 3, size=(8.0, 3.0)) as (*panels, right):
        for ax, (name, own) in zip(panels, settings.items(), strict=True):
            (stack,) = nn.pretrain(data.x, [HIDDEN], epochs=60, lr=0.01, **own)
            layer = stack.layers[0]
            h = nn.Sequential(nn.Sigmoid()).predict(data.x @ layer.weight + layer.bias)
            added = layer.autoencoder.layers[-1].params["weight"]
            used = np.argsort(-h.std(axis=0) * np.linalg.norm(added, axis=1))[:36]
            strokes = added[used] / np.abs(added[used]).max(axis=1, keepdims=True)
            ax.imshow(mosaic(strokes.reshape(-1, 8, 8), 6), cmap="gray")
            ax.set(xticks=[], yticks=[], title=f"{name}: what 36 units add")
            right.plot(np.sort(h.mean(axis=0))[::-1], label=name)
            numbers |= {name: h.mean(), f"{name}_error": stack.error}
        right.set(xlabel="hidden unit", ylabel="mean activation", ylim=(0, 1))
        right.legend()
    return numbers


if __name__ == "__main__":
    print(main())
