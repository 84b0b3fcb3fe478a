"""Rates of their own for the layers.

    theta_l <- theta_l - eta_l g_l        eta_l: the rate of the parameter group of layer l

In a network of four sigmoid layers the gradient fades towards the input: the first layer's is {fade:.0f} times
smaller than the last one's. Rates that grow by {factor:g} per layer towards the input bring the loss after {epochs}
epochs to {own:.3f}, one rate for all to {same:.2f}.

Checked: `fade > 10 and own < 0.2 * same`
"""

import numpy as np
from gallery import load, mlp, picture, training

import fusedstep as fs
from fusedstep import nn

EPOCHS, FACTOR = 30, 3.0


def main():
    """Draw the gradient of every layer at the start, and the loss."""
    data = load("digits")
    first, loss = mlp(64, 32, 32, 32, 10, activation=nn.Sigmoid, rng=0), nn.SoftmaxNLL()
    first.backward(loss.gradient(first.forward(data.x, training=True), data.y))
    weights = [name for name in first.params if name.endswith("weight")]
    sizes = [np.sqrt(np.mean(first.grads[name] ** 2)) for name in weights]
    curves = {}
    for label, factor in {"one rate for all": 1.0, f"{FACTOR:g} x per layer": FACTOR}.items():
        model = mlp(64, 32, 32, 32, 10, activation=nn.Sigmoid, rng=0)
        names = [[name, name.replace("weight", "bias")] for name in weights]
        rates = [0.03 * factor ** (len(names) - 1 - layer) for layer in range(len(names))]
        groups = [{"params": {n: model.params[n] for n in own}, "lr": r} for own, r in zip(names, rates, strict=True)]
        opt = fs.SGD(groups, momentum=0.9)
        curves[label] = list(training(model, opt, data.x, data.y, epochs=EPOCHS))
    with picture("16_layer_rates", 2) as (left, right):
        left.bar([f"{i + 1}" for i in range(len(sizes))], sizes)
        left.set(xlabel="layer", ylabel="root mean square of the gradient", yscale="log", title="at the start")
        for label, curve in curves.items():
            right.plot(range(1, EPOCHS + 1), curve, label=label)
        right.set(xlabel="epoch", ylabel="training loss")
        right.legend()
    same, own = (curve[-1] for curve in curves.values())
    return {"fade": sizes[-1] / sizes[0], "same": same, "own": own, "epochs": EPOCHS, "factor": FACTOR}


if __name__ == "__main__":
    print(main())
