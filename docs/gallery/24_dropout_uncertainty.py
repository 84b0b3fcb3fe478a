"""Dropout as an ensemble: Monte Carlo uncertainty.

    mean p = 1/K sum over K masks of softmax(f(x, mask)),      uncertainty = -sum p log p

A network trained with dropout answers test digits that are turned step by step, with {k} masks each. Turned by 30
degrees its answers are right in {tilted:.0%} instead of {upright:.0%}, and their entropy rises from {sure:.2f} to
{unsure:.2f} nats; that of one pass without dropping to {single_unsure:.2f}.

Finding: that is no guard against what is far from all training rows. Lying on their side nearly all digits are taken
for the same one, at {sideways:.2f} nats: right in {lying:.0%}, and surer than upright.

Checked: `unsure > 2 * sure and unsure > single_unsure + 0.1 and tilted < 0.7 and upright > 0.96 and lying < 0.3 and
sideways < sure`
"""

import numpy as np
from gallery import load, mlp, picture, training
from scipy.ndimage import rotate

import fusedstep as fs
from fusedstep import nn

K, ANGLES = 30, np.arange(0, 181, 15)


def entropy(p):
    """Return the mean entropy of rows of probabilities."""
    return -np.mean(np.sum(p * np.log(np.maximum(p, 1e-30)), axis=1))


def main():
    """Draw accuracy and both uncertainties over the angle."""
    data = load("digits")
    model = mlp(64, 128, 128, 10, dropout=0.4, rng=0)
    list(training(model, fs.Adam(model.params), data.x, data.y, epochs=30))
    right, sampled, single = [], [], []
    for angle in ANGLES:
        images = rotate(data.x_test.reshape(-1, 8, 8), angle, axes=(1, 2), reshape=False, order=1)
        x = images.reshape(-1, 64)
        mean = model.predict_samples(x, K, key=0, transform=nn.softmax).mean
        right.append(np.mean(mean.argmax(axis=1) == data.y_test))
        sampled.append(entropy(mean))
        single.append(entropy(nn.softmax(model.predict(x))))
    with picture("24_dropout_uncertainty", 2) as (left, uncertain):
        left.plot(ANGLES, right)
        left.set(xlabel="turned by (degrees)", ylabel="share of right answers", ylim=(0, 1))
        uncertain.plot(ANGLES, sampled, label=f"mean over {K} masks")
        uncertain.plot(ANGLES, single, label="one pass without dropping")
        uncertain.set(xlabel="turned by (degrees)", ylabel="entropy of the answer (nats)", ylim=(0, 1.3))
        uncertain.legend()
    tilt, side = list(ANGLES).index(30), list(ANGLES).index(90)
    numbers = {"k": K, "upright": right[0], "tilted": right[tilt], "lying": right[side], "sure": sampled[0]}
    return numbers | {"unsure": sampled[tilt], "single_unsure": single[tilt], "sideways": sampled[side]}


if __name__ == "__main__":
    print(main())
