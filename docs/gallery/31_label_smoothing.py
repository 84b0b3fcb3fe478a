"""Label smoothing.

    t' = (1 - eps) t + eps / k        t: 1 for the label, 0 elsewhere; k classes

A network that learns from 300 digits gives its wrong answers on the others a probability of {hard_wrong:.2f} on
average; trained on labels with eps = 0.1 it gives them {smooth_wrong:.2f}, and with eps = 0.3 {very_wrong:.2f}. It is
right in {hard_right:.1%}, {smooth_right:.1%} and {very_right:.1%} of all cases.

Finding: a label cannot be softened without right answers losing confidence too: theirs falls from {hard_sure:.2f} to
{very_sure:.2f}.

Checked: `hard_wrong > smooth_wrong + 0.05 and smooth_wrong > very_wrong and abs(hard_right - smooth_right) < 0.03 and
very_sure < hard_sure`
"""

import numpy as np
from gallery import load, mlp, picture, training

import fusedstep as fs
from fusedstep import nn
from fusedstep.augment import label_smoothing


def main():
    """Draw how sure right and wrong answers are."""
    data, numbers = load("digits", 300), {}
    with picture("31_label_smoothing", 3) as panels:
        for name, eps, ax in zip(("hard", "smooth", "very"), (0.0, 0.1, 0.3), panels, strict=True):
            model = mlp(64, 64, 10, rng=0)
            targets = label_smoothing(data.y, eps, num_classes=10)
            list(training(model, fs.Adam(model.params, lr=3e-3), data.x, targets, epochs=60))
            p = nn.softmax(model.predict(data.x_test))
            right = p.argmax(axis=1) == data.y_test
            sure = p.max(axis=1)
            shares = [np.full(part.shape, 1 / len(part)) for part in (sure[right], sure[~right])]
            ax.hist([sure[right], sure[~right]], bins=np.linspace(0, 1, 11), weights=shares, label=["right", "wrong"])
            ax.set(
                xlabel="probability of the answer", ylabel="share of the answers", ylim=(0, 1), title=f"eps = {eps:g}"
            )
            numbers |= {
                f"{name}_right": right.mean(),
                f"{name}_sure": sure[right].mean(),
                f"{name}_wrong": sure[~right].mean(),
            }
        panels[0].legend(loc="upper left")
    return numbers


if __name__ == "__main__":
    print(main())
