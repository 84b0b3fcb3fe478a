"""Greedy layer-wise pre-training.

    layer l: minimise mean (h_l-1 - h_l V_l - c_l)^2 over W_l, b_l, V_l, c_l,    h_l = sigmoid(h_l-1 W_l + b_l)
    the best few of several stacks get the next layer; then all layers together are trained on the labels

A deep network of sigmoid layers, {rows} digits with labels and {all_rows} without: from random weights its loss after
{epochs} epochs is {random:.2f}, from pre-trained ones {pretrained:.2f}, and it is right on {random_right:.1%} and
{pretrained_right:.1%} of the test rows.

Checked: `pretrained < 0.5 * random and pretrained_right > random_right + 0.1`
"""

from gallery import accuracy, load, mlp, picture, training

import fusedstep as fs
from fusedstep import nn

WIDTHS, ROWS, EPOCHS = [64, 48, 32, 16], 200, 60


def main():
    """Draw the training loss and the share of right answers from both beginnings."""
    data = load("digits")
    candidates = [{"lr": 0.01}, {"lr": 0.01, "noise": 0.1}]  # for each layer; the 2 best stacks go on
    stack = nn.pretrain(data.x, WIDTHS[1:], nn.Sigmoid, candidates=candidates, keep=2)[0]
    numbers = {"rows": ROWS, "all_rows": len(data.x), "epochs": EPOCHS}
    with picture("65_pretraining", 2) as (left, right):
        for name in ("random", "pretrained"):
            model = mlp(*WIDTHS, 10, activation=nn.Sigmoid, rng=0)
            if name == "pretrained":
                for i, layer in enumerate(stack.layers):
                    model.params[f"{2 * i}.weight"][...] = layer.weight
                    model.params[f"{2 * i}.bias"][...] = layer.bias
            opt, losses, shares = fs.SGD(model.params, lr=0.1, momentum=0.9), [], []
            for loss in training(model, opt, data.x[:ROWS], data.y[:ROWS], epochs=EPOCHS):
                losses.append(loss)
                shares.append(accuracy(model, data.x_test, data.y_test))
            left.plot(range(1, EPOCHS + 1), losses, label=f"{name} first weights")
            right.plot(range(1, EPOCHS + 1), shares)
            numbers |= {name: losses[-1], f"{name}_right": shares[-1]}
        left.set(xlabel="epoch", ylabel="training loss", ylim=(0, 3))
        right.set(xlabel="epoch", ylabel="share of right answers, test rows", ylim=(0, 1))
        left.legend(loc="upper right")
    return numbers


if __name__ == "__main__":
    print(main())
