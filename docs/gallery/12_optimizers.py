"""Every update rule on one model.

    SGD       theta -= eta g          NAG: a = beta a + g, g taken at theta - eta beta a;  theta -= eta a
    Adagrad   G += g^2;  theta -= eta g / (sqrt(G) + eps)      RMSprop: G = alpha G + (1 - alpha) g^2, then the same
    Adadelta  G as RMSprop's;  d = sqrt(H + eps) / sqrt(G + eps) g;  theta -= eta d;  H = rho H + (1 - rho) d^2
    Adam      m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  with m' = m / (1 - b1^t), v' = v / (1 - b2^t):
              theta -= eta m' / (sqrt(v') + eps)
    AdamW     theta *= 1 - eta lambda, then Adam's step        Lion: theta -= eta sign(b1 m + (1 - b1) g)

The others' formulas are in their docstrings. The same 64-32-10 network and batches of the digits, with the same budget
for every optimizer: a third, once and three times its rate for small networks, of which the best counts, each for
{seeds} seeds. Those without a schedule are evaluated at their average. After {epochs} epochs the mean training loss of
all but Rprop, which is made for whole batches, is between {lowest:.2f} and {highest:.2f}; on the test rows they are
right in {worst:.1%} to {best:.1%} of all cases, so here the choice matters for the speed and little for the result.

Checked: `highest < 0.5 and highest > 3 * lowest and worst > 0.88 and best > 0.96 and rprop > highest`
"""

from contextlib import nullcontext

import numpy as np
from gallery import accuracy, load, mlp, picture, training

import fusedstep as fs
from fusedstep import inspect

EPOCHS, SEEDS = 10, 2


def run(data, optimizer, factor):
    """Return the training losses and the part of the test rows that is right, as means over the seeds."""
    usual, found = optimizer.for_small_networks.get("lr", optimizer.options["lr"].default), []
    for seed in range(SEEDS):
        model = mlp(64, 32, 10, rng=seed)
        opt = optimizer(model.params, **{**optimizer.for_small_networks, "lr": factor * usual})
        losses = list(training(model, opt, data.x, data.y, epochs=EPOCHS))
        with opt.averaged() if opt.has_averages else nullcontext():
            found.append([*losses, accuracy(model, data.x_test, data.y_test)])
    *losses, right = np.mean(found, axis=0).tolist()
    return losses, right


def main() -> dict[str, float]:
    """Draw the training loss of every optimizer in the registry."""
    data, found = load("digits"), {}
    for name, optimizer in fs.optim.registry.items():
        found[name] = min((run(data, optimizer, factor) for factor in (1 / 3, 1, 3)), key=lambda each: each[0][-1])
    with picture("12_optimizers", size=(8.0, 5.0)) as ax:
        curves = {f"{name} ({right:.1%})": curve for name, (curve, right) in found.items()}
        inspect.plot_curves(curves, ax, ylabel="training loss (mean over the epoch)", log=True)
        ax.legend(title="right on the test rows", loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small")
    rprop = found.pop("Rprop")[0][-1]
    last, right = [curve[-1] for curve, _ in found.values()], [part for _, part in found.values()]
    ends = {"lowest": min(last), "highest": max(last), "best": max(right), "worst": min(right), "rprop": rprop}
    return {"epochs": EPOCHS, "seeds": SEEDS, **ends}


if __name__ == "__main__":
    print(main())
