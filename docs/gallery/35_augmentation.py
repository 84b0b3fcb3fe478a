"""Images shifted, turned and flipped.

    x' = x moved by up to a pixel, turned by up to 15 degrees, or mirrored with probability 1/2;    t' = t

Networks learn from 200 digits that are changed anew in every batch, and answer the others: as they are, shifted, and
turned. Without augmentation they are right on {plain_shift:.0%} of the shifted and {plain_rotate:.0%} of the turned
ones; having learnt from shifted ones on {shift_shift:.0%}, from turned ones on {rotate_rotate:.0%}.

Finding: augmentation teaches what it shows and no more. As they are, {plain_plain:.1%} of the digits are answered
right without it, {shift_plain:.1%} with shifts, {rotate_plain:.1%} with turns, {flip_plain:.1%} with flips.

Checked: `shift_shift > plain_shift + 0.3 and rotate_rotate > plain_rotate + 0.05 and flip_plain < plain_plain and
max(shift_plain, rotate_plain) < plain_plain + 0.02`
"""

import numpy as np
from gallery import accuracy, load, mlp, mosaic, picture, training

import fusedstep as fs
from fusedstep import augment

CHANGES = {
    "plain": lambda images, key: images,
    "shift": lambda images, key: augment.shift(images, key, max_shift=1),
    "rotate": lambda images, key: augment.rotate(images, key, max_degrees=15.0),
    "flip": augment.flip,
}


def changed(x, name, key):
    """Return the rows x, as images, changed by chance."""
    return CHANGES[name](x.reshape(-1, 8, 8), key).reshape(-1, 64)


def learn(name):
    """Return the shares of right answers on test rows that are plain, shifted and turned."""
    data, model, keys = load("digits", 200), mlp(64, 256, 10, rng=0), fs.Philox(0)
    opt = fs.Adam(model.params, lr=3e-3)
    list(training(model, opt, data.x, data.y, epochs=100, change=lambda x, y: (changed(x, name, keys.key()), y)))
    return [accuracy(model, changed(data.x_test, test, fs.Key(9)), data.y_test) for test in list(CHANGES)[:3]]


def main():
    """Draw changed digits, and the shares of right answers."""
    x, right = load("digits", 200).x[:6], {name: learn(name) for name in CHANGES}
    with picture("35_augmentation", 2) as (left, scores):
        shown = np.concatenate([-changed(x, name, fs.Key(7)) for name in CHANGES])
        left.imshow(mosaic(shown.reshape(-1, 8, 8), 6), cmap="gray")
        left.set(xticks=[], yticks=range(4, 36, 9), yticklabels=CHANGES)
        for i, (name, shares) in enumerate(right.items()):
            scores.bar(np.arange(3) + 0.2 * i - 0.3, shares, width=0.18, label=f"learnt from: {name}")
        scores.set(xticks=range(3), xticklabels=list(CHANGES)[:3], xlabel="test rows", ylabel="share of right answers")
        scores.set(ylim=(0, 1.45))
        scores.legend(ncols=2, loc="upper center")
    return {f"{name}_{test}": s for name, row in right.items() for test, s in zip(CHANGES, row, strict=False)}


if __name__ == "__main__":
    print(main())
