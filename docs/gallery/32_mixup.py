"""Mixup.

    lam ~ Beta(alpha, alpha);    x' = lam x_i + (1 - lam) x_j,    t' = lam t_i + (1 - lam) t_j

Networks learn from 400 digits, a fifth of which were given labels at random: without mixing they learn those by heart
and are right on {plain_right:.1%} of the test rows, with mixup (alpha = 1) on {mixed_right:.1%} (means over {seeds}
seeds).

Finding: with right labels it does not help on this set: {clean_plain_right:.1%} without and {clean_mixed_right:.1%}
with mixup.

Checked: `mixed_right > plain_right + 0.02 and clean_mixed_right < clean_plain_right + 0.005`
"""

import numpy as np
from gallery import accuracy, load, mlp, mosaic, picture, training, wrong_labels

import fusedstep as fs
from fusedstep.augment import mixup, one_hot

SEEDS, EPOCHS = 2, 60


def learn(seed, wrong, mix):
    """Return the share of right answers on the test rows after every epoch."""
    data, model, keys = load("digits", 400, seed), mlp(64, 64, 10, rng=seed), fs.Philox(seed)
    y = one_hot(wrong_labels(data.y, wrong, seed), 10)

    def change(x, t):
        return mixup(x, t, keys.key(), alpha=1.0)[:2]

    epochs = training(model, fs.Adam(model.params, lr=3e-3), data.x, y, epochs=EPOCHS, change=change if mix else None)
    return [accuracy(model, data.x_test, data.y_test) for _ in epochs]


def main():
    """Draw mixed digits, and how often the networks are right."""
    data, numbers = load("digits", 400), {"seeds": SEEDS}
    mixed = mixup(data.x, one_hot(data.y, 10), fs.Key(2), alpha=1.0)
    with picture("32_mixup", 2) as (left, right):
        rows = np.concatenate([-mixed.x[:6], -data.x[:6], -data.x[mixed.partner[:6]]])
        left.imshow(mosaic(rows.reshape(-1, 8, 8), 6), cmap="gray")
        left.set(xticks=[], yticks=[4, 13, 22], yticklabels=["x'", "x_i", "x_j"])
        left.set_title(f"mixed: {mixed.weight[0]:.0%} x_i, the rest x_j")
        for wrong, before in ((0.2, ""), (0.0, "clean_")):
            for mix in (False, True):
                mean = np.mean([learn(seed, wrong, mix) for seed in range(SEEDS)], axis=0)
                label = f"{wrong:.0%} wrong labels, {'mixed' if mix else 'not mixed'}"
                right.plot(range(1, EPOCHS + 1), mean, label=label)
                numbers[f"{before}{'mixed' if mix else 'plain'}_right"] = mean[-1]
        right.set(xlabel="epoch", ylabel="share of right answers, test rows", ylim=(0.6, 1))
        right.legend(loc="lower right")
    return numbers


if __name__ == "__main__":
    print(main())
