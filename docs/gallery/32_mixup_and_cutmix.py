"""
Mixup and CutMix
================

.. code-block:: text

    x_i, x_j: two images of a batch, paired at random      t_i, t_j: their targets      lam ~ Beta(alpha, alpha)
    mixup:     x' = lam x_i + (1 - lam) x_j                       t' = lam t_i + (1 - lam) t_j
    CutMix:    x' = x_j inside a box, x' = x_i outside the box    t' = lam' t_i + (1 - lam') t_j
    box: its area is (1 - lam) times the area of the image; any part outside the image is cut off
    lam': the share of the pixels of x' that come from x_i

Networks learn 400 images of digits with mixup, with CutMix and without mixing. The page compares the three methods in
two settings. In the first setting, a fifth of the training labels are replaced by random digits. In the second setting,
all labels are right.
"""

import numpy as np
from shared import SEEDS, accuracy, band, interval, load, mlp, mosaic, show, subplots, training, wrong_labels

import fusedstep as fs
from fusedstep.augment import cutmix, mixup, one_hot

EPOCHS = 60
MIXES = {
    "no mixing": lambda images, targets, key: (images, targets),
    "mixup": lambda images, targets, key: mixup(images, targets, key, alpha=1.0)[:2],
    "CutMix": lambda images, targets, key: cutmix(images, targets, key, alpha=1.0, per_row=True)[:2],
}


def learn(mix, wrong, seed):
    """Return the accuracy on the test rows after every epoch."""
    data, model, keys = load("digits", 400, seed), mlp(64, 64, 10, rng=seed), fs.Philox(seed)
    targets = one_hot(wrong_labels(data.y, wrong, seed), 10)

    def change(x, t):
        images, t = mix(x.reshape(-1, 8, 8), t, keys.key())
        return images.reshape(-1, 64), t

    opt = fs.Adam(model.params, lr=3e-3)
    epochs = training(model, opt, data.x, targets, epochs=EPOCHS, change=change, seed=seed)
    return [accuracy(model, data.x_test, data.y_test) for _ in epochs]


runs = {
    (wrong, name): np.array([learn(mix, wrong, seed) for seed in SEEDS])
    for wrong in (0.2, 0.0)
    for name, mix in MIXES.items()
}
images, targets = load("digits", 400).x[:6].reshape(-1, 8, 8), np.eye(6)
pictures, noisy, clean = subplots(3, size=(9.5, 3.8))
shown = np.concatenate([mix(-images, targets, fs.Key(2))[0] for mix in MIXES.values()])
show(pictures, mosaic(shown, 6), xticks=[], yticks=[4, 13, 22], yticklabels=MIXES, title="Mixed digits")
for axes, wrong, title in ((noisy, 0.2, "A fifth of the labels are random"), (clean, 0.0, "All labels are right")):
    for name in MIXES:
        band(axes, range(1, EPOCHS + 1), runs[wrong, name], name)
    axes.set(xlabel="epoch", ylabel="accuracy on the test rows", ylim=(0.6, 1), title=title)
_ = noisy.legend(loc="lower right")

# %%
# The output shows the accuracy after the last epoch, and the gain: this accuracy minus the accuracy without mixing. If
# a fifth of the labels are random, mixup and CutMix raise the accuracy, because a network memorises mixed images less
# easily. If all labels are right, mixup and CutMix do not raise the accuracy measurably on these data.

last = {key: found[:, -1] for key, found in runs.items()}
for (wrong, name), values in last.items():
    gain = interval(values - last[wrong, "no mixing"])
    print(f"{wrong:.0%} random labels, {name}: accuracy {interval(values):.1%}, gain {gain:+.1%}")

for name in ("mixup", "CutMix"):
    assert interval(last[0.2, name] - last[0.2, "no mixing"]).low > 0.02
    assert interval(last[0.0, name] - last[0.0, "no mixing"]).low < 0.003
