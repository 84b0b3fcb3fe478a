"""Mixup and CutMix.

    mixup: x' = lam x_i + (1 - lam) x_j      CutMix: x' = x_j in a box of area 1 - lam, x_i around it
    lam ~ Beta(alpha, alpha);  targets are mixed alike: t' = lam t_i + (1 - lam) t_j

Networks learn from 400 digits, a fifth of which were given labels at random. Without mixing they learn those by
heart: {none:.1%} of the test rows are right, with mixup {mixup:.1%} and with CutMix {cutmix:.1%}.

Finding: with right labels neither helps on this set ({clean_none:.1%}; {clean_mixup:.1%}, {clean_cutmix:.1%}).

Checked: `mixup > none + 0.02 and cutmix > none + 0.02 and max(clean_mixup, clean_cutmix) < clean_none + 0.005`
"""

import numpy as np
from gallery import accuracy, load, mlp, mosaic, picture, training, wrong_labels

import fusedstep as fs
from fusedstep.augment import cutmix, mixup, one_hot

SEEDS, EPOCHS = 2, 60
MIXES = {
    "none": lambda images, targets, key: (images, targets),
    "mixup": lambda images, targets, key: mixup(images, targets, key, alpha=1.0)[:2],
    "cutmix": lambda images, targets, key: cutmix(images, targets, key, alpha=1.0, per_row=True)[:2],
}


def learn(seed, wrong, mix):
    """Return the share of right answers on the test rows after every epoch."""
    data, model, keys = load("digits", 400, seed), mlp(64, 64, 10, rng=seed), fs.Philox(seed)
    targets = one_hot(wrong_labels(data.y, wrong, seed), 10)

    def change(x, t):
        images, t = mix(x.reshape(-1, 8, 8), t, keys.key())
        return images.reshape(-1, 64), t

    epochs = training(model, fs.Adam(model.params, lr=3e-3), data.x, targets, epochs=EPOCHS, change=change)
    return [accuracy(model, data.x_test, data.y_test) for _ in epochs]


def main():
    """Draw mixed digits, and how often the networks are right."""
    images, targets, numbers = load("digits", 400).x[:6].reshape(-1, 8, 8), np.eye(6), {}
    with picture("32_mixup_and_cutmix", 2) as (left, right):
        shown = np.concatenate([mix(-images, targets, fs.Key(2))[0] for mix in MIXES.values()])
        left.imshow(mosaic(shown, 6), cmap="gray")
        left.set(xticks=[], yticks=[4, 13, 22], yticklabels=MIXES)
        for wrong, before, style in ((0.2, "", "-"), (0.0, "clean_", ":")):
            for i, (name, mix) in enumerate(MIXES.items()):
                mean = np.mean([learn(seed, wrong, mix) for seed in range(SEEDS)], axis=0)
                right.plot(range(1, EPOCHS + 1), mean, style, color=f"C{i}", label=f"{name}, {wrong:.0%} wrong labels")
                numbers[before + name] = mean[-1]
        right.set(xlabel="epoch", ylabel="share of right answers, test rows", ylim=(0.6, 1))
        right.legend(loc="lower right")
    return numbers


if __name__ == "__main__":
    print(main())
