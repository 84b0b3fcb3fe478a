"""
Initial weights and biases
==========================

.. code-block:: text

    Var(w):  fan-in: scale^2 / fan_in      Glorot: 2 scale^2 / (fan_in + fan_out)      He: 2 scale^2 / fan_in
    output weights 0: all classes have the same initial probability
    hidden biases -1: most hidden units are inactive at the start

The page has two experiments on the digits. The first experiment compares three rules for the variance of the initial
weights. Its network has ten ReLU layers with 256 and 64 units in turn. The second experiment compares initial biases
from 0 to -1 in a network with one hidden layer. The output weights of this network start at 0.
"""

import numpy as np
from shared import SEEDS, band, interval, load, subplots, training

import fusedstep as fs
from fusedstep import init, nn

DEPTH, EPOCHS, BIASES = 10, 15, (0.0, -0.25, -0.5, -0.75, -1.0)


def spread(rule, seed):
    """Return the standard deviation of the activations of every layer."""
    x, found, rng = load("digits", seed=seed).x, [], np.random.default_rng(seed)
    for shape in [(64, 256), (256, 64)] * (DEPTH // 2):
        x = np.maximum(x @ rule(scale=1.0)(shape, rng), 0)
        found.append(x.std())
    return found


def learn(bias, output, seed):
    """Return the loss at the start, and the share of active hidden units before and after training."""
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
right.set(xlabel="initial bias", ylabel="share of active hidden units", ylim=(0, 1), title="Initial biases")
left.legend()
_ = right.legend()

# %%
# Of the three rules, only He's rule gives activations with nearly the same standard deviation in all ReLU layers. With
# output weights of 0, the loss at the start is log 10. With random output weights, the loss at the start is higher.
# With an initial bias of -1, most hidden units are inactive at the start.

ratio = {name: found[:, -1] / found[:, 0] for name, found in spreads.items()}
for name, values in ratio.items():
    print(f"{name}: standard deviation of the last layer / of the first layer {interval(values):.3f}")
print(f"loss at the start: output weights 0: {interval(zero[:, 0, 0]):.3f}, random: {interval(random):.3f}")
for i, bias in ((0, 0), (4, -1)):
    print(
        f"initial bias {bias}: active units {interval(zero[:, i, 1]):.0%} at the start, "
        f"{interval(zero[:, i, 2]):.0%} after {EPOCHS} epochs"
    )

assert interval(ratio["he"] - 3 * ratio["glorot"]).low > 0 and interval(ratio["he"] - 3 * ratio["fan_in"]).low > 0
assert np.abs(zero[:, :, 0] - np.log(10)).max() < 1e-3 and interval(random - np.log(10)).low > 0
assert interval(0.5 * zero[:, 0, 1] - zero[:, 4, 1]).low > 0
