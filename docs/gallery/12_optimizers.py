"""Every update rule on one model.

    SGD       theta -= eta g          NAG: a = beta a + g, g taken at theta - eta beta a;  theta -= eta a
    Adagrad   G += g^2;  theta -= eta g / (sqrt(G) + eps)      RMSprop: G = alpha G + (1 - alpha) g^2, then the same
    Adadelta  G as RMSprop's;  d = sqrt(H + eps) / sqrt(G + eps) g;  theta -= eta d;  H = rho H + (1 - rho) d^2
    Adam      m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  with m' = m / (1 - b1^t), v' = v / (1 - b2^t):
              theta -= eta m' / (sqrt(v') + eps)
    AdamW     theta *= 1 - eta lambda, then Adam's step        Lion: theta -= eta sign(b1 m + (1 - b1) g)

The same 64-32-10 network and the same batches of the digits, for every optimizer of the package at its rate for small
networks. After {epochs} epochs the lowest training loss is {lowest:.2f} and the highest {highest:.2f}; on the test
rows they are right in {worst:.1%} to {best:.1%} of all cases, so here the choice matters for the speed and little for
the result.

Checked: `highest < 0.5 and highest > 3 * lowest and worst > 0.88 and best > 0.96`
"""

from gallery import accuracy, load, mlp, picture, training

import fusedstep as fs
from fusedstep import inspect

EPOCHS = 20


def main() -> dict[str, float]:
    """Draw the training loss of every optimizer in the registry."""
    data = load("digits")
    losses, right = {}, {}
    for name, optimizer in fs.optim.registry.items():
        model = mlp(64, 32, 10, rng=0)
        opt = optimizer(model.params, **optimizer.for_small_networks)
        losses[name] = list(training(model, opt, data.x, data.y, epochs=EPOCHS))
        right[name] = accuracy(model, data.x_test, data.y_test)
    with picture("12_optimizers", size=(8.0, 3.8)) as ax:
        curves = {f"{name} ({right[name]:.1%})": curve for name, curve in losses.items()}
        inspect.plot_curves(curves, ax, ylabel="training loss (mean over the epoch)", log=True)
        ax.legend(title="right on the test rows", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    last = [curve[-1] for curve in losses.values()]
    best, worst = max(right.values()), min(right.values())
    return {"epochs": EPOCHS, "lowest": min(last), "highest": max(last), "best": best, "worst": worst}


if __name__ == "__main__":
    print(main())
