"""Seeds and ensembles.

    p(x) = 1/m sum_j softmax(f_j(x)),    f_j from seed j;    standard error of a mean over n seeds = std / sqrt(n)

{n} networks that differ in nothing but their seed, on 100 digits, are right on {low:.1%} to {high:.1%} of the others
(mean {mean:.1%}, standard deviation {std:.1%}): a difference between two single runs says little. Averaged, they are
right on {ensemble:.1%}.

Checked: `ensemble > mean + 0.005 and high - low > 0.005`
"""

import numpy as np
from gallery import accuracy, load, mlp, picture, training

import fusedstep as fs
from fusedstep import nn
from fusedstep.ensemble import Ensemble, over_seeds

N = 20


def learn(data, seed):
    """Return a trained network."""
    model = mlp(64, 16, 10, rng=seed)
    list(training(model, fs.Adam(model.params, lr=3e-3), data.x, data.y, epochs=60, seed=seed))
    return model


def main():
    """Draw single networks, and ensembles of more and more of them."""
    data = load("digits", 100)
    models = [learn(data, seed) for seed in range(N)]
    scores = over_seeds(lambda seed: accuracy(models[seed], data.x_test, data.y_test), range(N))
    sizes = range(1, N + 1)
    together = [Ensemble(models[:m]).predict(data.x_test, nn.softmax).argmax(axis=1) for m in sizes]
    right = [np.mean(answers == data.y_test) for answers in together]
    with picture("45_seeds_and_ensembles") as ax:
        ax.plot(sizes, scores.values, "o", label="network j alone")
        ax.axhline(scores.mean, color="C0", linestyle=":", label="mean of the single ones")
        ax.plot(sizes, right, label="average of the first j")
        ax.set(xlabel="network j", ylabel="share of right answers, test rows")
        ax.set_xticks(range(2, N + 1, 2))
        ax.legend()
    numbers = {"n": N, "low": scores.values.min(), "high": scores.values.max(), "mean": scores.mean, "std": scores.std}
    return numbers | {"ensemble": right[-1]}


if __name__ == "__main__":
    print(main())
