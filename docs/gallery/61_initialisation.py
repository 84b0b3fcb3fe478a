"""
The scale of the initial weights
================================

A network learns the digits. The initial weights w of its ten ReLU layers are drawn by He's rule with one of three
scales. fan_in is the number of inputs of a layer.

.. code-block:: text

    He's rule: Var(w) = scale^2 * 2 / fan_in        scale = 0.5, 1 or 2
"""

import numpy as np
from shared import SEEDS, band, interval, load, subplots, training

import fusedstep as fs
from fusedstep import init, nn

EPOCHS, DEPTH = 10, 10  # equal, so that one array can hold the values per epoch and the values per layer
SCALES = (0.5, 1.0, 2.0)


def run(scale, seed):
    """Return the standard deviation of every layer's activations before training, and the loss of every epoch."""
    data, weights, spread = load("digits", seed=seed), init.he(scale=scale), []
    hidden = [layer for _ in range(DEPTH) for layer in (nn.Linear(64, 64, weight_init=weights), nn.ReLU())]
    model = nn.Sequential(*hidden, nn.Linear(64, 10), rng=seed)
    x = data.x
    for layer in model.layers[:-1]:
        x = layer.forward(x, False)
        if isinstance(layer, nn.ReLU):
            spread.append(x.std())
    return spread, list(training(model, fs.SGD(model.params, lr=0.02), data.x, data.y, epochs=EPOCHS, seed=seed))


with np.errstate(all="ignore"):
    runs = {scale: np.array([run(scale, seed) for seed in SEEDS]) for scale in SCALES}
spreads = {scale: found[:, 0] for scale, found in runs.items()}
losses = {scale: found[:, 1] for scale, found in runs.items()}
left, right = subplots(2)
for i, scale in enumerate(SCALES):
    band(
        left, range(1, DEPTH + 1), np.log10(spreads[scale]), f"scale {scale:g}", color=f"C{i}", marker="o", markersize=3
    )
    if np.isfinite(losses[scale]).all():
        band(right, range(1, EPOCHS + 1), losses[scale], f"scale {scale:g}", color=f"C{i}")
left.set(xlabel="layer", ylabel="log10 of the activations' standard deviation", title="Before training")
right.set(xlabel="epoch", ylabel="training loss", title="No curve for scale 2: the loss overflows")
left.legend()
_ = right.legend(loc="center right")

# %%
# With scale 1, the standard deviation of the activations stays similar from layer to layer, and the network learns.
# With scale 0.5, the activations become smaller in every layer, and the network does not learn. With scale 2, the
# activations become larger in every layer, and the loss overflows in every run.

for scale in SCALES:
    ratio, overflowed = spreads[scale][:, -1] / spreads[scale][:, 0], (~np.isfinite(losses[scale])).any(axis=1).sum()
    last = (
        f"loss of the last epoch {interval(losses[scale][:, -1]):.2f}"
        if not overflowed
        else f"the loss overflows in {overflowed} of {len(SEEDS)} runs"
    )
    ratio_text = f"standard deviation in the last layer, divided by that in the first layer: {interval(ratio):.3f}"
    print(f"scale {scale:g}: {ratio_text}; {last}")

assert interval(losses[1.0][:, -1]).high < 0.5
assert interval(losses[0.5][:, -1]).low > 2
assert not np.isfinite(losses[2.0]).all(axis=1).any()
