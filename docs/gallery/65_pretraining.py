"""
Greedy layer-wise pre-training
==============================

The hidden layers of a network of sigmoids are pre-trained one after the other, without labels. h[0] is the input of the
network. Hidden layer l has the weights W[l], the biases b[l] and the output h[l]. It is trained so that a decoder, with
the weights V[l] and the biases c[l], can reconstruct h[l-1] from h[l]:

.. code-block:: text

    layer l: minimise mean (h[l-1] - h[l] V[l] - c[l])^2 over W[l], b[l], V[l], c[l],
             where h[l] = sigmoid(h[l-1] W[l] + b[l])

A stack is a network of pre-trained layers. On top of each stack, the next layer is trained twice: without and with
noise in its input. Each result, together with the layers below it, is a new stack. Of all new stacks, the
two that reconstruct the network's input best are kept.

The pre-training uses 1,198 digits. Then an output layer is added to the best stack, and all layers together learn the
labels of 200 of these digits. The page compares this network with a network whose initial weights are random, for five
seeds.
"""

import numpy as np
from shared import SEEDS, accuracy, band, interval, load, mlp, subplots, training

import fusedstep as fs
from fusedstep import nn

WIDTHS, ROWS, EPOCHS = [64, 48, 32, 16], 200, 60


def learn(pretrained, seed):
    """Train with the labels. Return the training loss and the accuracy on the test rows after every epoch."""
    data, model = load("digits", seed=seed), mlp(*WIDTHS, 10, activation=nn.Sigmoid, rng=seed)
    if pretrained:
        candidates = [{"lr": 0.01}, {"lr": 0.01, "noise": 0.1}]  # settings for the training of a layer
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
# With pre-trained initial weights, the network learns the labels in 60 epochs. With random initial weights, the network
# learns little in 60 epochs.

for name, found in runs.items():
    loss, share = interval(found[:, 0, -1]), interval(found[:, 1, -1])
    print(f"{name} initial weights: training loss {loss:.2f}, accuracy on the test rows {share:.1%}")

random, pretrained = (found[:, :, -1] for found in runs.values())
assert interval(0.5 * random[:, 0] - pretrained[:, 0]).low > 0
assert interval(pretrained[:, 1] - random[:, 1]).low > 0.1
