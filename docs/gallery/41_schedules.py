"""Learning-rate schedules.

    step t = k + 1:  step: eta0 gamma^floor(k / s)      exponential: eta0 gamma^k      inverse time: eta0 / (1 + c k)
    Bengio: eta0 tau / max(t, tau)      cosine: eta0 (1 + cos(pi k / T)) / 2
    warm-up: t / (w + 1) of a schedule's first rate, w times      plateau: times gamma where the loss stands still

Least squares on the diabetes set in batches of {batch}: at a constant rate stochastic gradient descent soon comes
near the minimum and then stays in the noise, {constant:.0e} above it. Over the same {steps} steps falling rates come
closer: Bengio's to {bengio:.0e}, the cosine to {cosine:.0e}.

Checked: `cosine < 0.1 * constant and max(step, exponential, inverse, bengio, warmup, plateau) < 0.5 * constant`
"""

import numpy as np
from gallery import load, picture, training

import fusedstep as fs
from fusedstep import init, nn, schedules

EPOCHS, BATCH, RATE = 60, 10, 0.05
STEPS = EPOCHS * 30
SCHEDULES = {
    "constant": schedules.constant(RATE),
    "step": schedules.step(RATE, STEPS // 4, gamma=0.3),
    "exponential": schedules.exponential(RATE, 0.01 ** (1 / STEPS)),
    "inverse": schedules.inverse_time(RATE, 20 / STEPS),
    "bengio": schedules.bengio(RATE, STEPS // 8),
    "cosine": schedules.cosine(RATE, STEPS),
    "warmup": schedules.warmup(schedules.cosine(RATE, 9 * STEPS // 10), STEPS // 10),
    "plateau": schedules.ReduceOnPlateau(RATE, factor=0.3, patience=3),
}


def main():
    """Draw the rates and the losses."""
    data, loss, last = load("diabetes", dtype=np.float64), nn.MeanSquaredError(), {}
    lowest = loss(data.x @ np.linalg.lstsq(data.x, data.y)[0], data.y)
    with picture("41_schedules", 2, size=(8.0, 4.2)) as (left, right):
        for name, schedule in SCHEDULES.items():
            model = nn.Sequential(nn.Linear(10, 1, weight_init=init.zeros()), dtype=np.float64)
            opt, rates, above = fs.SGD(model.params, lr=schedule), [], []
            for _ in training(model, opt, data.x, data.y, epochs=EPOCHS, batch=BATCH, loss=loss):
                rates.append(schedule(opt.steps))
                above.append(loss(model.predict(data.x), data.y) - lowest)
                if name == "plateau":
                    schedule.observe(above[-1])
            left.plot(range(1, EPOCHS + 1), rates, label=name)
            right.plot(range(1, EPOCHS + 1), above)
            last[name] = np.mean(above[-5:])
        left.set(xlabel="epoch", ylabel="learning rate at the end of the epoch")
        right.set(xlabel="epoch", ylabel="training loss above its minimum", yscale="log")
        left.figure.legend(loc="outside lower center", ncols=4)
    return last | {"steps": STEPS, "batch": BATCH}


if __name__ == "__main__":
    print(main())
