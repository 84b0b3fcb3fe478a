"""
Every update rule on one model
==============================

.. code-block:: text

    SGD       theta -= eta g
    NAG       a = beta a + g, with the gradient g at theta - eta beta a;  theta -= eta a
    Adagrad   G += g^2;  theta -= eta g / (sqrt(G) + eps)
    RMSprop   G = alpha G + (1 - alpha) g^2;  theta as in Adagrad
    Adadelta  G = rho G + (1 - rho) g^2;  d = sqrt(H + eps) / sqrt(G + eps) g;  theta -= eta d;
              H = rho H + (1 - rho) d^2
    Adam      m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  with m' = m / (1 - b1^t), v' = v / (1 - b2^t):
              theta -= eta m' / (sqrt(v') + eps)
    AdamW     theta *= 1 - eta lambda, then Adam's step
    Lion      theta -= eta sign(b1 m + (1 - b1) g);  m = b2 m + (1 - b2) g

These are some of the update rules. theta is a parameter, g its gradient, eta the learning rate, and t the number of the
step. a, G, H, m and v are arrays that begin at zero. d, m' and v' are temporary arrays. The other letters are
constants. The API reference has the formulas of all rules.

The page asks which rules have a lower training loss or a higher accuracy than Adam. With each rule, small networks
learn scikit-learn's digits. First, the page tries thirteen learning rates from 1e-4 to 100 for each rule, and chooses
the rate with the lowest validation loss (mean of three seeds). With the chosen rate, the page then trains new networks
with twelve other seeds, which also give other splits of the data.
"""

import numpy as np
from shared import accuracy, interval, load, mlp, subplots, training

import fusedstep as fs
from fusedstep import nn

EPOCHS, RATES, TUNING, TESTING = 20, np.geomspace(1e-4, 100, 13), (100, 101, 102), range(12)


def learn(optimizer, rate, seed):
    """Train a new network. Return its training loss in the last epoch, its validation loss and its test accuracy."""
    data, model = load("digits", 900, seed), mlp(64, 32, 10, rng=seed)
    opt = optimizer(model.params, **{**optimizer.for_small_networks, "lr": rate})
    *_, loss = training(model, opt, data.x, data.y, epochs=EPOCHS, seed=seed)
    held, test = slice(0, 300), slice(300, None)
    with np.errstate(all="ignore"):
        validation = nn.SoftmaxNLL()(model.predict(data.x_test[held]), data.y_test[held])
    return loss, validation, accuracy(model, data.x_test[test], data.y_test[test])


rates, found = {}, {}
with np.errstate(all="ignore"):
    for name, optimizer in fs.optim.registry.items():
        validation = [np.mean([learn(optimizer, rate, seed)[1] for seed in TUNING]) for rate in RATES]
        rates[name] = RATES[np.nanargmin(validation)]
        found[name] = np.array([learn(optimizer, rates[name], seed) for seed in TESTING])

# %%
# The picture shows the training loss in the last of 20 epochs, and the accuracy on the test rows after this epoch. The
# points are means over the twelve seeds, and the bars are 95% intervals. The number after "lr" is the chosen learning
# rate.

names = sorted(found, key=lambda name: -found[name][:, 2].mean())
left, right = subplots(2, size=(8.0, 1.2 + 0.33 * len(names)))
for axes, column, label in ((left, 0, "training loss, last epoch"), (right, 2, "accuracy on the test rows")):
    for place, name in enumerate(names):
        value = interval(found[name][:, column])
        axes.errorbar(value.mean, place, xerr=value.half, fmt="o", capsize=3, color="C0")
    axes.set(xlabel=label)
left.set_yticks(range(len(names)), [f"{name}, lr {rates[name]:.0e}" for name in names])
right.set_yticks(range(len(names)), [])
left.set(xscale="log", title=f"Training loss in epoch {EPOCHS}")
_ = right.set(title=f"Accuracy after {EPOCHS} epochs")

# %%
# The output shows the accuracy of each rule. It also compares each rule with Adam, in runs with the same seed and the
# same split. The first comparison is the difference from Adam's accuracy. If its whole 95% interval is above 0, the
# rule is more accurate than Adam. The second comparison is log(L / L_Adam), where L is the training loss of the rule in
# the last epoch, and L_Adam is that of Adam. If its whole 95% interval is below 0, the rule has a lower loss than Adam.

gains = {name: interval(found[name][:, 2] - found["Adam"][:, 2]) for name in names}
ratios = {name: interval(np.log(found[name][:, 0] / found["Adam"][:, 0])) for name in names}
for name in names:
    value = interval(found[name][:, 2])
    print(f"{name:9} accuracy {value:.1%}, difference from Adam's accuracy {gains[name]:+.1%}")
    print(f"          log(L / L_Adam) {ratios[name]:+.2f}")

# %%
# NAG and Adadelta, among others, reach a lower training loss than Adam. For several rules, the interval of the
# difference from Adam's accuracy reaches above 0: these rules may be at least as accurate as Adam. Plain SGD (without
# momentum) has a higher loss and a lower accuracy than Adam.
# AdamW's training loss is higher than Adam's, because AdamW's weight decay keeps the weights small.

assert all(RATES[0] < rate < RATES[-1] for rate in rates.values())
assert sum(gain.high >= 0 for name, gain in gains.items() if name != "Adam") >= 3
assert ratios["SGD"].low > 0 and gains["SGD"].high < 0
assert ratios["NAG"].high < 0 and ratios["Adadelta"].high < 0
