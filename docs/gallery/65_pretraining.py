"""
Greedy layer-wise pre-training
==============================

.. code-block:: text

    layer l: minimise mean (h_l-1 - h_l V_l - c_l)^2 over W_l, b_l, V_l, c_l,    h_l = sigmoid(h_l-1 W_l + b_l)

The layers of a deep network of sigmoids are pre-trained one after the other. Each layer learns to encode the outputs of
the layer before it. A stack is a network of pre-trained layers. For each kept stack, two variants of the next layer are
trained: with and without noise. Of the resulting stacks, the two best are kept. The pre-training uses 1,198 digits
without their labels. Then an output layer is added to the best stack, and the whole network learns the labels of 200 of
these digits. The comparison is repeated with five seeds.
"""

import numpy as np
from shared import SEEDS, accuracy, band, interval, load, mlp, subplots, training

import fusedstep as fs
from fusedstep import nn

WIDTHS, ROWS, EPOCHS = [64, 48, 32, 16], 200, 60


def learn(pretrained, seed):
    """Return the training loss and the accuracy on the test rows after every epoch."""
    data, model = load("digits", seed=seed), mlp(*WIDTHS, 10, activation=nn.Sigmoid, rng=seed)
    if pretrained:
        candidates = [{"lr": 0.01}, {"lr": 0.01, "noise": 0.1}]  # variants of each layer; the 2 best stacks are kept
        stack = nn.pretrain(data.x, WIDTHS[1:], nn.Sigmoid, candidates=candidates, keep=2, seed=seed)[0]
        for i, layer in enumerate(stack.layers):
            model.params[f"{2 * i}.weight"][...] = layer.weight
            model.params[f"{2 * i}.bias"][...] = layer.bias
    opt = fs.SGD(model.params, lr=0.1, momentum=0.9)
    epochs = training(model, opt, data.x[:ROWS], data.y[:ROWS], epochs=EPOCHS, seed=seed)
    return np.transpose([(loss, accuracy(model, data.x_test, data.y_test)) for loss in epochs])


runs = {name: np.array([learn(flag, s) for s in SEEDS]) for name, flag in (("random", False), ("pre-trained", True))}
left, right = subplots(2)
for name, found in runs.items():
    band(left, range(1, EPOCHS + 1), found[:, 0], f"{name} initial weights")
    band(right, range(1, EPOCHS + 1), found[:, 1])
left.set(xlabel="epoch", ylabel="training loss", ylim=(0, 3), title="Training loss, five seeds")
right.set(xlabel="epoch", ylabel="accuracy on the test rows", ylim=(0, 1), title="Test rows")
_ = left.legend(loc="upper right")

# %%
# With pre-trained initial weights, the network learns the labels. With random initial weights, the network has learned
# little after the same number of epochs.

for name, found in runs.items():
    print(f"{name} weights: loss {interval(found[:, 0, -1]):.2f}, accuracy {interval(found[:, 1, -1]):.1%}")

random, pretrained = (found[:, :, -1] for found in runs.values())
assert interval(0.5 * random[:, 0] - pretrained[:, 0]).low > 0
assert interval(pretrained[:, 1] - random[:, 1]).low > 0.1
