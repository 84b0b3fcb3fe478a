"""
Snapshot ensembles
==================

.. code-block:: text

    the training consists of cycles of T steps; in each cycle, the learning rate falls from eta0 to almost 0:
    eta(t) = eta0 (1 + cos(pi p / T)) / 2      p: number of steps of the same cycle before step t
    at the end of each cycle, a copy of the weights (a snapshot) is kept

A snapshot ensemble predicts the mean of the probabilities that its snapshots predict. One training of 8 cycles on 400
images of digits gives 8 snapshots. On this page, "wrong labels" means that a fifth of the training labels are replaced
by random digits. The training is repeated in three settings: wrong labels with weight decay, right labels with weight
decay, and wrong labels without weight decay.
"""

import numpy as np
from shared import band, bars, interval, load, mlp, subplots, training, wrong_labels

import fusedstep as fs

CYCLES, CYCLE, ROWS, BATCH, SPLITS = 8, 12, 400, 40, range(8)  # CYCLE: epochs of a cycle
SETTINGS = {  # fraction of replaced labels, weight decay
    "wrong labels, decay": (0.2, 3e-3),
    "right labels, decay": (0.0, 3e-3),
    "wrong labels, no decay": (0.2, 0.0),
}


def learn(wrong, decay, seed):
    """Return three lists.

    The first list has the accuracy of each snapshot alone. The second list has, for every j, the accuracy of the first
    j snapshots together. The third list has the training loss of every epoch.
    """
    data, eta = load("digits", ROWS, seed), fs.schedules.cosine_restarts(0.4, cycle_steps=CYCLE * ROWS // BATCH)
    model, y = mlp(64, 32, 10, rng=seed), wrong_labels(data.y, wrong, seed)
    opt = fs.SGD(model.params, lr=eta, momentum=0.9, weight_decay=decay)
    snapshots, losses = fs.ensemble.Snapshots(model, eta), []
    for loss in training(model, opt, data.x, y, epochs=CYCLES * CYCLE, batch=BATCH, seed=seed):
        losses.append(loss)
        snapshots.observe(opt.steps)
    p = list(snapshots.outputs(data.x_test, fs.nn.softmax))
    means = [fs.ensemble.average(p[: j + 1]) for j in range(CYCLES)]
    alone, joint = ([np.mean(q.argmax(axis=1) == data.y_test) for q in part] for part in (p, means))
    return alone, joint, losses


runs = {name: [learn(*setting, seed) for seed in SPLITS] for name, setting in SETTINGS.items()}
left, *panels = subplots(4, size=(12.0, 3.6))
band(left, range(1, CYCLES * CYCLE + 1), [losses for *_, losses in runs["wrong labels, decay"]])
left.set(xlabel="epoch", ylabel="training loss", yscale="log", title="wrong labels, decay: 8 cycles")
for axes, (name, found) in zip(panels, runs.items(), strict=True):
    bars(axes, np.arange(1, CYCLES + 1), [alone for alone, *_ in found], "snapshot j alone")
    band(axes, np.arange(1, CYCLES + 1), [joint for _, joint, _ in found], "first j snapshots together", color="C1")
    axes.set(xlabel="j", title=name)
panels[0].set(ylabel="accuracy on the test rows")
_ = panels[0].legend()

# %%
# The ensemble of all snapshots is compared with the first snapshot and with the mean accuracy of the single snapshots.
# The comparison with the first snapshot shows whether the other seven cycles are worth their time. With weight decay,
# the gain over the first snapshot is small, both with wrong labels and with right labels. With wrong labels and weight
# decay, the gain over the mean accuracy is larger than the gain over the first snapshot, because later snapshots have
# memorised more wrong labels and are less accurate. With wrong labels and without weight decay, the first snapshot
# alone is more accurate than the ensemble.

gains = {}
for name, found in runs.items():
    alone, joint = (np.array([run[i] for run in found]) for i in (0, 1))
    gains[name] = interval(joint[:, -1] - alone[:, 0])
    against_mean = interval(joint[:, -1] - alone.mean(axis=1))
    print(f"{name}: ensemble {interval(joint[:, -1]):.1%}, first snapshot alone {interval(alone[:, 0]):.1%}")
    print(f"    gain over the first snapshot {gains[name]:+.2%}, over the mean accuracy {against_mean:+.2%}")

with_decay, right_labels, no_decay = gains.values()
assert with_decay.mean < 0.01
assert right_labels.mean < 0.01
assert no_decay.high < 0
