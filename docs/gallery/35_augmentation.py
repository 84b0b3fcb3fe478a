"""
Images shifted, turned and flipped
==================================

.. code-block:: text

    x' = x moved by up to a pixel, turned by up to 15 degrees, or mirrored with probability 1/2;    t' = t

Networks learn from 200 digits that are changed anew in every batch, and answer others: as they are, shifted, and
turned.
"""

import numpy as np
from shared import SEEDS, accuracy, bars, interval, load, mlp, mosaic, show, subplots, training

import fusedstep as fs
from fusedstep import augment

CHANGES = {
    "as they are": lambda images, key: images,
    "shifted": lambda images, key: augment.shift(images, key, max_shift=1),
    "turned": lambda images, key: augment.rotate(images, key, max_degrees=15.0),
    "flipped": augment.flip,
}
TESTS = list(CHANGES)[:3]


def changed(x, name, key):
    """Return the rows x, as images, changed by chance."""
    return CHANGES[name](x.reshape(-1, 8, 8), key).reshape(-1, 64)


def learn(name, seed):
    """Return the shares of right answers on test rows that are as they are, shifted and turned."""
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
    bars(scores, np.arange(3) + 0.15 * i - 0.22, right, f"learnt from digits {name}", fmt="os^v"[i])
scores.set(xticks=range(3), xticklabels=TESTS, xlabel="test rows", ylabel="share of right answers", ylim=(0.2, 1.35))
scores.set(title="Five splits")
_ = scores.legend(loc="upper center")

# %%
# Augmentation teaches what it shows. Networks that saw shifted digits answer shifted ones far better, and those that
# saw turned ones turned ones. On digits as they are it does not help here, and flips, which no digit of the data has,
# harm.

for name, right in found.items():
    print(f"learnt {name}: " + ", ".join(f"{test} {interval(r):.1%}" for test, r in zip(TESTS, right.T, strict=True)))

plain, shifted, turned, flipped = found.values()
assert interval(shifted[:, 1] - plain[:, 1]).low > 0.3
assert interval(turned[:, 2] - plain[:, 2]).low > 0.05
assert interval(plain[:, 0] - flipped[:, 0]).low > 0
assert interval(shifted[:, 0] - plain[:, 0]).high < 0.02 and interval(turned[:, 0] - plain[:, 0]).high < 0.02
