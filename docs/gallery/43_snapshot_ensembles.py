"""Snapshot ensembles.

    eta(t) = eta0 (1 + cos(pi p / T)) / 2, p steps into a cycle of T; keep the weights at the end of each cycle

One run of {cycles} cycles on 400 digits, a fifth of which were given labels at random. Single snapshots are right on
{single:.1%} of the test rows on average, the mean of their probabilities on {ensemble:.1%}.

Finding: without weight decay later cycles learn the wrong labels by heart and the first snapshot
({decayless_first:.1%}) beats all together ({decayless_ensemble:.1%}); with right labels all together
({clean_ensemble:.1%}) hardly beat a single one ({clean_single:.1%}).

Checked: `ensemble > single + 0.005 and abs(clean_ensemble - clean_single) < 0.02 and decayless_ensemble <
decayless_first`
"""

import numpy as np
from gallery import load, mlp, picture, training, wrong_labels

import fusedstep as fs

CYCLES, CYCLE, ROWS, BATCH = 8, 12, 400, 40


def learn(data, wrong, decay):
    """Return the training losses, the schedule, and how often snapshot j and the first j together are right."""
    model, eta = mlp(64, 32, 10, rng=0), fs.schedules.cosine_restarts(0.4, cycle_steps=CYCLE * ROWS // BATCH)
    opt = fs.SGD(model.params, lr=eta, momentum=0.9, weight_decay=decay)
    snapshots, losses = fs.ensemble.Snapshots(model, eta), []
    for loss in training(model, opt, data.x, wrong_labels(data.y, wrong), epochs=CYCLES * CYCLE, batch=BATCH):
        losses.append(loss)
        snapshots.observe(opt.steps)
    p = list(snapshots.outputs(data.x_test, fs.nn.softmax))
    answers = p, [fs.ensemble.average(p[: j + 1]) for j in range(CYCLES)]
    return losses, eta, *([np.mean(q.argmax(axis=1) == data.y_test) for q in part] for part in answers)


def main():
    """Draw the rate, the training loss, and what the snapshots know alone and together."""
    data = load("digits", ROWS)
    losses, eta, alone, together = learn(data, 0.2, 3e-3)
    _, _, *clean = learn(data, 0.0, 3e-3)
    _, _, *decayless = learn(data, 0.2, 0.0)
    epochs, j = range(1, CYCLES * CYCLE + 1), range(1, CYCLES + 1)
    with picture("43_snapshot_ensembles", 2) as (left, right):
        left.plot(epochs, losses, label="training loss")
        left.plot(epochs, [eta(epoch * ROWS // BATCH) for epoch in epochs], label="learning rate")
        left.set(xlabel="epoch", ylabel="loss, rate", yscale="log", ylim=(1e-3, 10))
        left.legend(ncols=2)
        right.plot(j, alone, "o", label="snapshot j alone")
        right.plot(j, together, label="average of the first j")
        right.set(xlabel="snapshot j", ylabel="share of right answers, test rows")
        right.legend()
    numbers = {"cycles": CYCLES, "single": np.mean(alone), "ensemble": together[-1]}
    numbers |= {"clean_single": np.mean(clean[0]), "clean_ensemble": clean[1][-1]}
    return numbers | {"decayless_first": decayless[0][0], "decayless_ensemble": decayless[1][-1]}


if __name__ == "__main__":
    print(main())
