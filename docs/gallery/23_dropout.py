"""Dropout.

    training: y_i = m_i x_i / (1 - p), m_i = 0 with probability p        prediction: y = x

A 10-64-64-1 network learns the diabetes set by heart: without dropout its error on the test rows is lowest at epoch
{turn} and has risen to {without:.2f} by epoch {epochs} (1 is the error of always answering the mean). With p = 0.2 it
ends at {some:.2f}, with p = 0.5 at {much:.2f}.

Finding: dropout keeps the error from rising more than it lowers it. The lowest errors on the way are
{without_best:.2f}, {some_best:.2f} and {much_best:.2f}.

Checked: `without > some + 0.05 and some > much and turn < 20`
"""

import numpy as np
from gallery import load, mlp, picture, training

import fusedstep as fs
from fusedstep import nn

EPOCHS, RATES = 100, [0.0, 0.2, 0.5]


def main():
    """Draw the errors on both sets."""
    loss, tests = nn.MeanSquaredError(), []
    data = load("diabetes")
    with picture("23_dropout") as ax:
        for i, p in enumerate(RATES):
            model = mlp(10, 64, 64, 1, dropout=p, rng=0)
            epochs = training(model, fs.Adam(model.params), data.x, data.y, epochs=EPOCHS, loss=loss)
            errors = [[loss(model.predict(x), y) for x, y in (data[:2], data[2:])] for _ in epochs]
            train, test = np.transpose(errors)
            ax.plot(range(1, EPOCHS + 1), test, label=f"p = {p:g}, test")
            ax.plot(range(1, EPOCHS + 1), train, linestyle=":", color=f"C{i}", label=f"p = {p:g}, training")
            tests.append(test)
        ax.set(xlabel="epoch", ylabel="mean squared error, nothing dropped", ylim=(0, 1.2))
        ax.legend(ncols=3, loc="upper center")
    numbers = {"epochs": EPOCHS, "turn": 1 + int(np.argmin(tests[0]))}
    for name, test in zip(("without", "some", "much"), tests, strict=True):
        numbers |= {name: test[-1], f"{name}_best": min(test)}
    return numbers


if __name__ == "__main__":
    print(main())
