"""Snapshot ensembles.

    eta(t) = eta0 (1 + cos(pi p / T)) / 2, p steps into a cycle of T; keep the weights at the end of each cycle

One run of {cycles} cycles of {cycle} epochs on 400 digits, a fifth of which were given labels at random. Single snapshots are right on {single:.1%} of the test rows on average, the mean
of their probabilities on {ensemble:.1%}: an ensemble for the price of one run.

Finding: where a single network is nearly right, its snapshots are too alike to help. With right labels a snapshot is right on {clean_single:.1%}, all together on
{clean_ensemble:.1%}.

Checked: `ensemble > single + 0.015 and abs(clean_ensemble - clean_single) < 0.02`
"""

import numpy as np
from gallery import load, mlp, picture, training, wrong_labels

import fusedstep as fs
from fusedstep import nn
from fusedstep.ensemble import Snapshots, average

CYCLES, CYCLE, ROWS, BATCH = 6, 15, 400, 40


def learn(data, wrong):
    """Return the training losses, the schedule, and how often snapshot j and the first j together are right."""
    model, eta = mlp(64, 64, 10, rng=0), fs.schedules.cosine_restarts(0.5, cycle_steps=CYCLE * ROWS // BATCH)
    opt = fs.SGD(model.params, lr=eta, momentum=0.9)
    snapshots, losses = Snapshots(model, eta), []
    for loss in training(model, opt, data.x, wrong_labels(data.y, wrong), epochs=CYCLES * CYCLE, batch=BATCH):
        losses.append(loss)
        snapshots.observe(opt.steps)
    alone = list(snapshots.outputs(data.x_test, nn.softmax))
    together = [average(alone[: j + 1]) for j in range(CYCLES)]
    return losses, eta, *([np.mean(p.argmax(axis=1) == data.y_test) for p in part] for part in (alone, together))


def main():
    """Draw the rate, the training loss, and what the snapshots know alone and together."""
    data = load("digits", ROWS)
    losses, eta, alone, together = learn(data, 0.2)
    _, _, clean_alone, clean_together = learn(data, 0.0)
    epochs, snapshots = range(1, CYCLES * CYCLE + 1), range(1, CYCLES + 1)
    with picture("43_snapshot_ensembles", 2) as (left, right):
        left.plot(epochs, losses, label="training loss")
        left.plot(epochs, [eta(epoch * ROWS // BATCH) for epoch in epochs], label="learning rate")
        left.set(xlabel="epoch", yscale="log", ylim=(1e-3, 10))
        left.legend(ncols=2)
        right.plot(snapshots, alone, "o", label="snapshot j alone")
        right.plot(snapshots, together, label="average of the first j")
        right.set(xlabel="j", ylabel="share of right answers, test rows")
        right.legend()
    numbers = {"cycles": CYCLES, "cycle": CYCLE, "single": np.mean(alone), "ensemble": together[-1]}
    return numbers | {"clean_single": np.mean(clean_alone), "clean_ensemble": clean_together[-1]}


if __name__ == "__main__":
    print(main())
