"""The penalty of a mini-batch.

    batch of B of T rows:  g = sum of their gradients + B/T lambda theta        the last batch: B'/T of its B' rows
    online, t rows so far: g = sum of their gradients + B/t lambda theta

Ridge regression on the diabetes set, in batches of {batch} of {rows} rows and a last one of {last}: with the penalty
scaled by B/T the weights come within {scaled:.1%} of the ridge solution, with all of it in every batch they stay
{full:.0%} away. Online, where every row counts as new and the penalty ever less, they grow from {first:.2f} to
{online:.2f}, towards those without a penalty (ridge: {ridge:.2f}).

Checked: `scaled < 0.05 and full > 0.2 and first < ridge < online`
"""

import numpy as np
from gallery import load, picture

import fusedstep as fs

BATCH, EPOCHS, PENALTY = 32, 60, 40.0


def path(x, y, share):
    """Return the weights after every epoch; share(rows, rows seen so far) scales the penalty."""
    rng, theta, points, seen = np.random.default_rng(0), np.zeros(x.shape[1]), [], 0
    eta = fs.schedules.cosine(3e-3, EPOCHS * -(-len(x) // BATCH))
    opt = fs.SGD([theta], lr=eta, weight_decay=PENALTY)
    for _ in range(EPOCHS):
        order = rng.permutation(len(x))
        for rows in np.split(order, range(BATCH, len(x), BATCH)):
            seen += len(rows)
            gradient = x[rows].T @ (x[rows] @ theta - y[rows])
            opt.step([gradient], decay_scale=share(len(rows), seen))
        points.append(theta.copy())
    return np.array(points)


def main():
    """Draw how long the weights are."""
    data = load("diabetes", dtype=np.float64)
    x, y, n = data.x, data.y[:, 0], len(data.x)
    ridge, free = (np.linalg.solve(x.T @ x + penalty * np.eye(10), x.T @ y) for penalty in (PENALTY, 0.0))
    shares = {"B/T": lambda b, t: b / n, "all in every batch": lambda b, t: 1.0, "online, B/t": lambda b, t: b / t}
    paths = {label: path(x, y, share) for label, share in shares.items()}
    with picture("28_penalty_of_a_batch") as ax:
        for label, points in paths.items():
            ax.plot(range(1, EPOCHS + 1), np.linalg.norm(points, axis=1), label=label)
        for label, solution, style in (("ridge solution", ridge, ":"), ("without a penalty", free, "--")):
            ax.axhline(np.linalg.norm(solution), color="0.4", linestyle=style, label=label)
        ax.set(xlabel="epoch", ylabel="length of the weights", ylim=(0, None))
        ax.legend(loc="lower right")
    length = np.linalg.norm(ridge)
    scaled, full = (np.linalg.norm(paths[name][-1] - ridge) / length for name in list(shares)[:2])
    first, *_, online = np.linalg.norm(paths["online, B/t"], axis=1)
    counts = {"batch": BATCH, "rows": n, "last": n % BATCH}
    return counts | {"scaled": scaled, "full": full, "first": first, "online": online, "ridge": length}


if __name__ == "__main__":
    print(main())
