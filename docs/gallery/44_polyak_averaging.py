"""Polyak averaging.

    avg <- d avg + (1 - d) theta, after every step; predict with avg

Stochastic gradient descent with batches of {batch} on 600 digits, a fifth of which were given labels at random, never
comes to rest. Over the last {window} of {epochs} epochs its share of right answers on the test rows moves between
{raw_low:.1%} and {raw_high:.1%}, that of the average (d = {decay}) between {mean_low:.1%} and {mean_high:.1%}.

Checked: `mean_high - mean_low < 0.5 * (raw_high - raw_low) and mean_low > raw_low + 0.03`
"""

from gallery import accuracy, load, mlp, picture, training, wrong_labels

import fusedstep as fs

EPOCHS, BATCH, DECAY, WINDOW = 40, 8, 0.995, 20


def main():
    """Draw the share of right answers of both."""
    data, model = load("digits", 600), mlp(64, 16, 10, rng=0)
    opt = fs.SGD(model.params, lr=0.05, momentum=0.9, ema_decay=DECAY)
    raw, mean = [], []
    for _ in training(model, opt, data.x, wrong_labels(data.y, 0.2), epochs=EPOCHS, batch=BATCH):
        raw.append(accuracy(model, data.x_test, data.y_test))
        with opt.averaged():
            mean.append(accuracy(model, data.x_test, data.y_test))
    with picture("44_polyak_averaging") as ax:
        ax.plot(range(1, EPOCHS + 1), raw, label="the weights after each epoch")
        ax.plot(range(1, EPOCHS + 1), mean, label=f"their average, d = {DECAY}")
        ax.set(xlabel="epoch", ylabel="share of right answers, test rows", ylim=(0.7, 0.95))
        ax.legend(loc="lower right")
    numbers = {"epochs": EPOCHS, "batch": BATCH, "decay": DECAY, "window": WINDOW}
    numbers |= {"raw_low": min(raw[-WINDOW:]), "raw_high": max(raw[-WINDOW:])}
    return numbers | {"mean_low": min(mean[-WINDOW:]), "mean_high": max(mean[-WINDOW:])}


if __name__ == "__main__":
    print(main())
