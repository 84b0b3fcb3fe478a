"""First weights and biases.

    Var(w): fan-in scale^2 / fan_in      Glorot 2 scale^2 / (fan_in + fan_out)      He 2 scale^2 / fan_in
    output weights 0: every class begins with the same probability      bias < 0: most hidden units begin at rest

{depth} layers of ReLU, 256 and 64 wide in turn, on the digits: with He's weights the last activations spread {he:.2f}
times as much as the first, with Glorot's {glorot:.2f}, with fan-in {fan_in:.2f} times. With output weights of 0 a
network begins at a loss of {zero:.3f} = log 10, with He's at {random:.3f}; with biases of -1 {rest:.0%} of the hidden
units are active at first and {rest_end:.0%} after {epochs} epochs, with biases of 0 {active:.0%} and {active_end:.0%}.

Checked: `he > 3 * glorot and he > 3 * fan_in and abs(zero - 2.3026) < 1e-3 < random - zero and rest < 0.5 * active`
"""

import numpy as np
from gallery import load, picture, training

import fusedstep as fs
from fusedstep import init, nn

DEPTH, EPOCHS, BIASES = 10, 15, (0.0, -0.25, -0.5, -0.75, -1.0)


def spread(x, weights):
    """Return the standard deviation of the activations of every layer."""
    found, rng = [], np.random.default_rng(0)
    for shape in [(64, 256), (256, 64)] * (DEPTH // 2):
        x = np.maximum(x @ weights(shape, rng), 0)
        found.append(x.std())
    return found


def learn(data, bias, output):
    """Return the first loss, and how many hidden units are active before and after training."""
    hidden = nn.Linear(64, 64, weight_init=init.he(), bias_init=init.constant(bias))
    model = nn.Sequential(hidden, nn.ReLU(), nn.Linear(64, 10, weight_init=output), rng=0)
    loss, active = nn.SoftmaxNLL()(model.predict(data.x), data.y), np.mean(hidden.forward(data.x_test, False) > 0)
    list(training(model, fs.Adam(model.params, lr=3e-3), data.x, data.y, epochs=EPOCHS))
    return loss, active, np.mean(hidden.forward(data.x_test, False) > 0)


def main():
    """Draw the spread of the activations, and how many units are active."""
    data, numbers = load("digits"), {"depth": DEPTH, "epochs": EPOCHS}
    found = np.array([learn(data, bias, init.zeros()) for bias in BIASES])
    with picture("60_first_weights", 2) as (left, right):
        for rule in (init.fan_in, init.glorot, init.he):
            curve = spread(data.x, rule(scale=1.0))
            left.plot(range(1, DEPTH + 1), curve, marker="o", markersize=3, label=rule.__name__)
            numbers[rule.__name__] = curve[-1] / curve[0]
        right.plot(BIASES, found[:, 1:], marker="o", markersize=4, label=["at the start", f"after {EPOCHS} epochs"])
        left.set(xlabel="layer", ylabel="standard deviation of the activations", yscale="log")
        right.set(xlabel="first bias", ylabel="share of active hidden units, test rows", ylim=(0, 1))
        left.legend(), right.legend()
    numbers |= dict(zip(("zero", "active", "active_end"), found[0], strict=True))
    return numbers | {"random": learn(data, 0.0, init.he())[0], "rest": found[-1, 1], "rest_end": found[-1, 2]}


if __name__ == "__main__":
    print(main())
