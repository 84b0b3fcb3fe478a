"""
Learning-rate schedules
=======================

.. code-block:: text

    eta0: the first learning rate (if there is no warm-up)      gamma, s, c, tau, w: constants
    T: steps until the cosine schedule is at 0
    the learning rate of each schedule in step t = 1, 2, ..., with k = t - 1:
    step: eta0 gamma^floor(k / s)      exponential: eta0 gamma^k      inverse time: eta0 / (1 + c k)
    Bengio: eta0 tau / max(t, tau)     cosine: eta0 (1 + cos(pi k / T)) / 2
    plateau: eta0 at first; each time the loss stops falling, the rate is multiplied by gamma
    warm-up before another schedule: in the first w steps, eta0 t / (w + 1); then the rates of the other schedule

A linear model learns the diabetes data in batches of 10 rows. Its loss is the mean squared error. With a constant
learning rate, the weights soon come near the minimum of the loss. But then the weights do not come closer, because
every batch has a different gradient.
"""

import numpy as np
from shared import SEEDS, band, interval, load, subplots, training

import fusedstep as fs
from fusedstep import init, nn, schedules

EPOCHS, BATCH, RATE = 60, 10, 0.05
STEPS = EPOCHS * 30
SCHEDULES = {
    "constant": lambda: schedules.constant(RATE),
    "step": lambda: schedules.step(RATE, STEPS // 4, gamma=0.3),
    "exponential": lambda: schedules.exponential(RATE, 0.01 ** (1 / STEPS)),
    "inverse time": lambda: schedules.inverse_time(RATE, 20 / STEPS),
    "Bengio": lambda: schedules.bengio(RATE, STEPS // 8),
    "cosine": lambda: schedules.cosine(RATE, STEPS),
    "warm-up, cosine": lambda: schedules.warmup(schedules.cosine(RATE, 9 * STEPS // 10), STEPS // 10),
    "plateau": lambda: schedules.ReduceOnPlateau(RATE, factor=0.3, patience=3),
}


def learn(make, seed):
    """Return two lists with one number per epoch.

    The first list has the learning rate at the end of the epoch. The second list has the training loss at the end of
    the epoch, minus the minimum of the training loss.
    """
    data, loss, schedule = load("diabetes", seed=seed, dtype=np.float64), nn.MeanSquaredError(), make()
    lowest = loss(data.x @ np.linalg.lstsq(data.x, data.y)[0], data.y)
    model = nn.Sequential(nn.Linear(10, 1, weight_init=init.zeros()), dtype=np.float64)
    opt, rates, above = fs.SGD(model.params, lr=schedule), [], []
    for _ in training(model, opt, data.x, data.y, epochs=EPOCHS, batch=BATCH, loss=loss, seed=seed):
        rates.append(schedule(opt.steps))
        above.append(loss(model.predict(data.x), data.y) - lowest)
        if hasattr(schedule, "observe"):
            schedule.observe(above[-1])
    return rates, above


runs = {name: np.array([learn(make, seed) for seed in SEEDS]) for name, make in SCHEDULES.items()}
left, right = subplots(2, size=(8.0, 4.2))
for name, found in runs.items():
    band(left, range(1, EPOCHS + 1), found[:, 0], name)
    band(right, range(1, EPOCHS + 1), np.log10(found[:, 1]))
left.set(xlabel="epoch", ylabel="learning rate at the end of the epoch", title="Schedules")
right.set(xlabel="epoch", ylabel="log10(training loss - its minimum)", title="Means over five splits of the data")
_ = left.figure.legend(loc="outside lower center", ncols=4)

# %%
# Let d be the difference of the training loss from its minimum (mean over the last five epochs). The output shows d of
# each schedule, divided by d of the constant rate. With each of the other schedules, the loss comes closer to its
# minimum than with the constant rate.

above = {name: found[:, 1, -5:].mean(axis=1) for name, found in runs.items()}
for name, values in above.items():
    print(f"{name}: d / (d of the constant rate) {interval(values / above['constant']):.3f}")

falling = [name for name in SCHEDULES if name != "constant"]
assert all(interval(np.log(above[name] / above["constant"])).high < np.log(0.6) for name in falling)
assert interval(np.log(above["cosine"] / above["constant"])).high < np.log(0.2)
