"""
Shifted, rotated and flipped images
===================================

.. code-block:: text

    x: an image      t: its label
    x' = x shifted by up to a pixel, or rotated by up to 15 degrees, or (with probability 1/2) flipped left to right
    t' = t

Four networks learn the same 200 images of digits. The first network learns the unchanged images. The second network
learns shifted images, the third network rotated images, and the fourth network flipped images. Each time an image is
used, a new random shift, rotation or flip is drawn. Every network is tested on other images of digits. These test
images are used unchanged, shifted and rotated.
"""

import numpy as np
from shared import SEEDS, accuracy, bars, interval, load, mlp, mosaic, show, subplots, training

import fusedstep as fs
from fusedstep import augment

CHANGES = {
    "unchanged": lambda images, key: images,
    "shifted": lambda images, key: augment.shift(images, key, max_shift=1),
    "rotated": lambda images, key: augment.rotate(images, key, max_degrees=15.0),
    "flipped": augment.flip,
}
TESTS = list(CHANGES)[:3]


def changed(x, name, key):
    """Return the rows x after the random change with this name. Each row is an image of 8 x 8 pixels."""
    return CHANGES[name](x.reshape(-1, 8, 8), key).reshape(-1, 64)


def learn(name, seed):
    """Train on images with the change `name`. Return the accuracies on unchanged, shifted and rotated test rows."""
    data, model, keys = load("digits", 200, seed), mlp(64, 256, 10, rng=seed), fs.Philox(seed)
    opt = fs.Adam(model.params, lr=3e-3)
    change = lambda x, y: (changed(x, name, keys.key()), y)  # noqa: E731
    list(training(model, opt, data.x, data.y, epochs=100, change=change, seed=seed))
    return [accuracy(model, changed(data.x_test, test, fs.Key(9)), data.y_test) for test in TESTS]


found = {name: np.array([learn(name, seed) for seed in SEEDS]) for name in CHANGES}
left, scores = subplots(2)
x = load("digits", 200).x[:6]
shown = np.concatenate([-changed(x, name, fs.Key(7)) for name in CHANGES])
show(
    left,
    mosaic(shown.reshape(-1, 8, 8), 6),
    xticks=[],
    yticks=range(4, 36, 9),
    yticklabels=CHANGES,
    title="Changed digits",
)
for i, (name, right) in enumerate(found.items()):
    bars(scores, np.arange(3) + 0.15 * i - 0.22, right, f"trained on {name} digits", fmt="os^v"[i])
scores.set(xticks=range(3), xticklabels=TESTS, xlabel="test rows", ylabel="accuracy", ylim=(0.2, 1.35))
scores.set(title="Means over five splits of the data")
_ = scores.legend(loc="upper center")

# %%
# Here, every network is compared with the network that learned unchanged digits. Training on shifted digits makes a
# network far more accurate on shifted digits. Training on rotated digits makes a network more accurate on rotated
# digits. Training on shifted or rotated digits does not raise the accuracy on unchanged digits. Training on flipped
# digits lowers the accuracy on unchanged digits, because the test rows contain no flipped digits.

for name, right in found.items():
    scores_of_tests = ", ".join(f"{test} {interval(r):.1%}" for test, r in zip(TESTS, right.T, strict=True))
    print(f"trained on {name} digits, accuracy on test rows: {scores_of_tests}")

plain, shifted, rotated, flipped = found.values()
assert interval(shifted[:, 1] - plain[:, 1]).low > 0.3
assert interval(rotated[:, 2] - plain[:, 2]).low > 0.05
assert interval(plain[:, 0] - flipped[:, 0]).low > 0
assert interval(shifted[:, 0] - plain[:, 0]).high < 0.02 and interval(rotated[:, 0] - plain[:, 0]).high < 0.02
