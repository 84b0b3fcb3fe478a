"""Early stopping.

    stop after `patience` epochs in which the error on validation rows has not fallen; take the weights of its minimum

A 10-64-64-1 network on the diabetes set: after epoch {best_at} the error on the rows set aside does not fall for
{patience} epochs, and the training stops. On the test rows the weights of that epoch have a mean squared error of
{stopped:.2f}; training on for all {epochs} epochs leads to {full:.2f}.

Checked: `stopped < full - 0.05 and best_at < 30`
"""

from gallery import load, mlp, picture, training

import fusedstep as fs
from fusedstep import inspect, nn
from fusedstep.stopping import EarlyStopping

EPOCHS, PATIENCE = 100, 10


def main():
    """Draw the errors, and where the training would have stopped."""
    data, model, loss = load("diabetes"), mlp(10, 64, 64, 1, rng=0), nn.MeanSquaredError()
    (x, y), (x_val, y_val) = (data.x[60:], data.y[60:]), (data.x[:60], data.y[:60])
    stopping, stopped_at = EarlyStopping(model, PATIENCE), 0
    train, validation, test = [], [], []
    for epoch, _ in enumerate(training(model, fs.Adam(model.params), x, y, epochs=EPOCHS, loss=loss), 1):
        train.append(loss(model.predict(x), y))
        validation.append(loss(model.predict(x_val), y_val))
        test.append(loss(model.predict(data.x_test), data.y_test))
        if stopping.observe(validation[-1]) and not stopped_at:
            stopped_at, best_at = epoch, stopping.best_at  # one would break here; this goes on for the picture
    with picture("20_early_stopping") as ax:
        inspect.plot_curves({"training": train, "validation": validation, "test": test}, ax)
        ax.axvline(best_at, color="0.4", linestyle=":", label=f"best until the stop: {best_at}")
        ax.axvline(stopped_at, color="0.4", label=f"stop: {stopped_at}")
        ax.set(ylabel="mean squared error", ylim=(0, 1.2))
        ax.legend()
    numbers = {"best_at": best_at, "patience": PATIENCE, "epochs": EPOCHS}
    return numbers | {"stopped": test[best_at - 1], "full": test[-1]}


if __name__ == "__main__":
    print(main())
