"""
A learning rate for each layer
==============================

.. code-block:: text

    theta_l <- theta_l - eta_l g_l

theta_l are the parameters of layer l, g_l is their gradient, and eta_l is the learning rate of this layer. The page
uses SGD with momentum 0.9. The formula is without momentum.

In a network of four linear layers with sigmoids between them, the gradient becomes smaller from layer to layer towards
the input. With parameter groups, each layer can have its own learning rate. On this page, the rate of the last layer is
0.03. From layer to layer towards the input, the rate is multiplied by 3.
"""

import numpy as np
from shared import SEEDS, band, bars, interval, load, mlp, subplots, training

import fusedstep as fs
from fusedstep import nn

EPOCHS = 30


def layers(model):
    """Return the names of the weight and the bias of every layer."""
    weights = [name for name in model.params if name.endswith("weight")]
    return [(name, name.replace("weight", "bias")) for name in weights]


def sizes(seed):
    """Return the root mean square of the gradient of every layer's weight before training."""
    data, model, loss = (
        load("digits", seed=seed),
        mlp(64, 32, 32, 32, 10, activation=nn.Sigmoid, rng=seed),
        nn.SoftmaxNLL(),
    )
    model.backward(loss.gradient(model.forward(data.x, training=True), data.y))
    return [np.sqrt(np.mean(model.grads[weight] ** 2)) for weight, _ in layers(model)]


def losses(factor, seed):
    """Return the training loss of every epoch.

    The rate of the last layer is 0.03. From layer to layer towards the input, the rate is multiplied by
    `factor`.
    """
    data, model = load("digits", seed=seed), mlp(64, 32, 32, 32, 10, activation=nn.Sigmoid, rng=seed)
    groups = [
        {"params": {name: model.params[name] for name in names}, "lr": 0.03 * factor**depth}
        for depth, names in enumerate(reversed(layers(model)))
    ]
    return list(training(model, fs.SGD(groups, momentum=0.9), data.x, data.y, epochs=EPOCHS, seed=seed))


gradients = np.array([sizes(seed) for seed in SEEDS])
same, own = (np.array([losses(factor, seed) for seed in SEEDS]) for factor in (1.0, 3.0))
left, right = subplots(2)
bars(left, range(1, 5), gradients)
left.set(
    xlabel="layer (1 is next to the input)",
    ylabel="root mean square of the gradient",
    yscale="log",
    title="Gradients before training",
    xticks=range(1, 5),
)
band(right, range(1, EPOCHS + 1), same, "rate 0.03 for all layers")
band(right, range(1, EPOCHS + 1), own, "a rate for each layer")
right.set(xlabel="epoch", ylabel="training loss", title="A rate for each layer: lower loss")
_ = right.legend()

# %%
# Before training, the gradient of the first layer is far smaller than the gradient of the last layer. Larger rates near
# the input compensate for this difference. The loss is then much lower than with the rate 0.03 for all layers.

fade = interval(gradients[:, -1] / gradients[:, 0])
print(f"before training, the gradient of the last layer is {fade:.0f} times as large as that of the first layer")
print(f"training loss in epoch {EPOCHS}, one rate for all layers: {interval(same[:, -1]):.2f}")
print(f"training loss in epoch {EPOCHS}, a rate for each layer: {interval(own[:, -1]):.3f}")

assert fade.low > 10
assert interval(0.2 * same[:, -1] - own[:, -1]).low > 0
