"""Early stopping.

    stop after `patience` epochs in which the error on validation rows has not fallen; take the weights of its minimum

A 10-64-64-1 network on the diabetes set: the error on the rows set aside is lowest after epoch {best_at}, and after
{patience} more the training stops. On the test rows the restored weights have a mean squared error of {stopped:.2f};
training on for all {epochs} epochs leads to {full:.2f}.

Checked: `stopped < full - 0.05 and best_at < 30`
"""

from gallery import load, mlp, picture, training

import fusedstep as fs
from fusedstep import nn
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
            stopped_at = epoch  # a real training would break here; this one goes on for the picture
    best_at = stopped_at - PATIENCE
    with picture("20_early_stopping") as ax:
        for label, curve in {"training": train, "validation": validation, "test": test}.items():
            ax.plot(range(1, EPOCHS + 1), curve, label=f"{label} rows")
        ax.axvline(best_at, color="0.4", linestyle=":", label=f"best weights (epoch {best_at})")
        ax.axvline(stopped_at, color="0.4", label=f"stop (epoch {stopped_at})")
        ax.set(xlabel="epoch", ylabel="mean squared error", ylim=(0, 1.2))
        ax.legend()
    numbers = {"best_at": best_at, "patience": PATIENCE, "epochs": EPOCHS}
    return numbers | {"stopped": test[best_at - 1], "full": test[-1]}


if __name__ == "__main__":
    print(main())
