"""
Initial weights and biases
==========================

The page has two experiments on the digits. The first experiment compares three rules for the variance of the initial
weights w, in a network that is not trained. The network has ten ReLU layers with 256 and 64 units alternately. fan_in
is the number of inputs of a layer, fan_out is the number of its units, and scale is 1 here.

.. code-block:: text

    fan-in rule:      Var(w) = scale^2 / fan_in
    Glorot's rule:    Var(w) = 2 scale^2 / (fan_in + fan_out)
    He's rule:        Var(w) = 2 scale^2 / fan_in

The second experiment trains a network with one hidden layer of ReLU units. The output weights of the network start at
0. The network is trained once for each of five initial biases from 0 to -1. In each training, all hidden units start
with the same bias. A unit is active for an image if the unit's output is above 0. The page shows the share of active
units before and after training, as a mean over the test images. The page also shows the loss before training, with
output weights of 0 and with random output weights.
"""

import numpy as np
from shared import SEEDS, band, interval, load, subplots, training

import fusedstep as fs
from fusedstep import init, nn

DEPTH, EPOCHS, BIASES = 10, 15, (0.0, -0.25, -0.5, -0.75, -1.0)


def spread(rule, seed):
    """Return the standard deviation of every layer's activations. `rule` is a function such as `init.he`."""
    x, found, rng = load("digits", seed=seed).x, [], np.random.default_rng(seed)
    for shape in [(64, 256), (256, 64)] * (DEPTH // 2):
        x = np.maximum(x @ rule(scale=1.0)(shape, rng), 0)
        found.append(x.std())
    return found


def learn(bias, output, seed):
    """Return the loss before training, and the share of active hidden units before and after training.

    `bias` is the initial bias of the hidden units, and `output` is the initializer of the output weights.
    """
    data, hidden = load("digits", seed=seed), nn.Linear(64, 64, weight_init=init.he(), bias_init=init.constant(bias))
    model = nn.Sequential(hidden, nn.ReLU(), nn.Linear(64, 10, weight_init=output), rng=seed)
    loss, active = nn.SoftmaxNLL()(model.predict(data.x), data.y), np.mean(hidden.forward(data.x_test, False) > 0)
    list(training(model, fs.Adam(model.params, lr=3e-3), data.x, data.y, epochs=EPOCHS, seed=seed))
    return loss, active, np.mean(hidden.forward(data.x_test, False) > 0)


spreads = {rule.__name__: np.array([spread(rule, s) for s in SEEDS]) for rule in (init.fan_in, init.glorot, init.he)}
zero = np.array([[learn(bias, init.zeros(), seed) for bias in BIASES] for seed in SEEDS])
random = np.array([learn(0.0, init.he(), seed)[0] for seed in SEEDS])
left, right = subplots(2)
for name, found in spreads.items():
    band(left, range(1, DEPTH + 1), np.log10(found), name, marker="o", markersize=3)
for i, label in ((1, "at the start"), (2, f"after {EPOCHS} epochs")):
    band(right, BIASES, zero[:, :, i], label, marker="o", markersize=4)
left.set(xlabel="layer", ylabel="log10 of the standard deviation", title="Activations before training")
right.set(xlabel="initial bias of hidden units", ylabel="share of active units", ylim=(0, 1), title="Initial biases")
left.legend()
_ = right.legend()

# %%
# Of the three rules, only He's rule gives activations with nearly the same standard deviation in all ReLU layers. With
# output weights of 0, all ten classes have the same probability at the start, so the loss at the start is log 10. With
# random output weights, the loss at the start is higher than log 10. With an initial bias of -1, most hidden units are
# inactive at the start.

ratio = {name: found[:, -1] / found[:, 0] for name, found in spreads.items()}
for name, values in ratio.items():
    print(f"{name}: standard deviation in the last layer, divided by that in the first layer: {interval(values):.3f}")
print(f"initial loss: {interval(zero[:, 0, 0]):.3f} (output weights 0), {interval(random):.3f} (random output weights)")
for i, bias in ((0, 0), (4, -1)):
    print(
        f"initial bias {bias}: share of active hidden units {interval(zero[:, i, 1]):.0%} at the start, "
        f"{interval(zero[:, i, 2]):.0%} after {EPOCHS} epochs"
    )

assert interval(ratio["he"] - 3 * ratio["glorot"]).low > 0 and interval(ratio["he"] - 3 * ratio["fan_in"]).low > 0
assert np.abs(zero[:, :, 0] - np.log(10)).max() < 1e-3 and interval(random - np.log(10)).low > 0
assert interval(0.5 * zero[:, 0, 1] - zero[:, 4, 1]).low > 0
