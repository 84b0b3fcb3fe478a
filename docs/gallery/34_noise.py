"""
Noise on inputs and on weights
==============================

.. code-block:: text

    x: the inputs      theta: the weights      std: the standard deviation of the noise
    z ~ N(0, 1), drawn again for every batch
    noise on inputs:     the network is trained on x' = x + std z instead of x
    noise on weights:    Adam changes theta with the gradient of the loss at theta + std z

A network with layers of 10, 64, 64 and 1 units memorises the diabetes data. If noise is added to the inputs or to
the weights, the network memorises less. In the picture, "0.5 on inputs" means noise on the inputs with std = 0.5.
"""

import numpy as np
from shared import band, interval, load, mlp, subplots, training

import fusedstep as fs
from fusedstep import nn
from fusedstep.augment import gaussian_noise, weight_noise

EPOCHS, SEEDS = 100, range(8)
NOISE = {"no noise": (0.0, 0.0), "0.5 on inputs": (0.5, 0.0), "0.1 on weights": (0.0, 0.1)}


def errors(input_std, weight_std, seed):
    """Return the errors on the training and the test rows after every epoch."""
    data, model, loss, keys = (
        load("diabetes", seed=seed),
        mlp(10, 64, 64, 1, rng=seed),
        nn.MeanSquaredError(),
        fs.Philox(seed),
    )
    epochs = training(
        model,
        fs.Adam(model.params),
        data.x,
        data.y,
        epochs=EPOCHS,
        loss=loss,
        change=lambda x, y: (gaussian_noise(x, input_std, keys.key()), y),
        around=lambda: weight_noise(model.params, weight_std, keys.key()),
        seed=seed,
    )
    return np.transpose([[loss(model.predict(x), y) for x, y in (data[:2], data[2:])] for _ in epochs])


runs = {label: np.array([errors(*std, seed) for seed in SEEDS]) for label, std in NOISE.items()}
axes = subplots()
for i, (label, found) in enumerate(runs.items()):
    band(axes, range(1, EPOCHS + 1), found[:, 1], f"{label}, test", color=f"C{i}")
    band(axes, range(1, EPOCHS + 1), found[:, 0], f"{label}, training", color=f"C{i}", linestyle=":")
axes.set(
    xlabel="epoch",
    ylabel="mean squared error, computed without noise",
    ylim=(0, 1.3),
    title="Noise reduces memorising (means over 8 splits of the data)",
)
_ = axes.legend(ncols=3, loc="upper center")

# %%
# The output shows the mean squared error on the test rows after the last epoch.

last = {label: found[:, 1, -1] for label, found in runs.items()}
for label, values in last.items():
    print(f"{label}: {interval(values):.2f}")

plain, inputs, weights = last.values()
assert interval(plain - inputs).low > 0.05
assert interval(plain - weights).low > 0.05
