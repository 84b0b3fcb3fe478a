"""Dropout.

    inverted    training: y_i = m_i x_i / (1 - p), m_i = 0 with probability p, else 1        prediction: y = x
    vanilla     training: y_i = m_i x_i                                                      prediction: y = (1 - p) x

A 10-64-64-1 network learns the diabetes set by heart: without dropout its error on the test rows is lowest at epoch
{turn} and has risen to {without:.2f} by epoch {epochs} (1 is the error of always answering the mean). With p = 0.2 it
ends at {some:.2f}, with p = 0.5 at {much:.2f}, and vanilla at {vanilla:.2f}.

Finding: dropout keeps the error from rising more than it lowers it. The lowest errors on the way are
{without_best:.2f}, {some_best:.2f} and {much_best:.2f}.

Checked: `without > some + 0.05 and some > much and turn < 20 and without > vanilla + 0.05`
"""

import numpy as np
from gallery import load, mlp, picture, training

import fusedstep as fs
from fusedstep import nn

EPOCHS, RUNS = 100, {"p = 0": {}, "p = 0.2": {"dropout": 0.2}, "p = 0.5": {"dropout": 0.5}}
RUNS["p = 0.5, vanilla"] = {"dropout": 0.5, "mode": "vanilla"}


def main():
    """Draw the errors on both sets."""
    loss, tests = nn.MeanSquaredError(), []
    data = load("diabetes")
    with picture("23_dropout", size=(8.0, 4.0)) as ax:
        for i, (name, dropout) in enumerate(RUNS.items()):
            model = mlp(10, 64, 64, 1, **dropout, rng=0)
            epochs = training(model, fs.Adam(model.params), data.x, data.y, epochs=EPOCHS, loss=loss)
            errors = [[loss(model.predict(x), y) for x, y in (data[:2], data[2:])] for _ in epochs]
            train, test = np.transpose(errors)
            ax.plot(range(1, EPOCHS + 1), test, label=name)
            ax.plot(range(1, EPOCHS + 1), train, linestyle=":", color=f"C{i}")
            tests.append(test)
        ax.set(xlabel="epoch", ylabel="mean squared error, nothing dropped", ylim=(0, 1.2))
        ax.legend(title="test rows (dotted: training)", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    numbers = {"epochs": EPOCHS, "turn": 1 + int(np.argmin(tests[0]))}
    for name, test in zip(("without", "some", "much", "vanilla"), tests, strict=True):
        numbers |= {name: test[-1], f"{name}_best": min(test)}
    return numbers


if __name__ == "__main__":
    print(main())
