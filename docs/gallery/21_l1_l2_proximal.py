"""L1, L2 and proximal weights.

    L2: g += lambda theta      L1: g += lambda sign(theta)      elastic net: both
    proximal: theta <- sign(theta) max(|theta| - eta lambda, 0), after the step

Penalties on the weights, but not the biases, of a 30-16-2 network on breast cancer: L2 makes weights small, L1
through its gradient makes them hover around zero, and only the proximal step makes them exactly zero
({proximal_zeros:.0%} of them; L1: {l1_zeros:.0%}). On the test rows the networks are right in {worst:.1%} to
{best:.1%} of all cases, the proximal one in {proximal_right:.1%}.

Checked: `proximal_zeros > 0.5 and l1_zeros == 0 and l2_zeros == 0 and proximal_right > 0.93`
"""

import numpy as np
from gallery import accuracy, load, mlp, picture, training

import fusedstep as fs

PENALTIES = {
    "none": {},
    "L2": {"weight_decay": 0.03},
    "L1": {"l1": 0.01},
    "elastic net": {"l1": 0.01, "weight_decay": 0.03},
    "proximal L1": {"l1": 0.01, "decay": "proximal"},
}


def main():
    """Draw the weights of the first layer, sorted by size."""
    data = load("breast_cancer")
    zeros, right = {}, {}
    with picture("21_l1_l2_proximal") as ax:
        for label, penalty in PENALTIES.items():
            model = mlp(30, 16, 2, rng=0)
            weights = {n: p for n, p in model.params.items() if n.endswith("weight")}
            biases = {n: p for n, p in model.params.items() if n.endswith("bias")}
            opt = fs.SGD([{"params": weights, **penalty}, {"params": biases}], lr=0.2)
            list(training(model, opt, data.x, data.y, epochs=80))
            sizes = np.sort(np.abs(model.params["0.weight"]).ravel())[::-1]
            zeros[label], right[label] = float(np.mean(sizes == 0)), accuracy(model, data.x_test, data.y_test)
            ax.plot(np.maximum(sizes, 1e-6), label=f"{label}: {zeros[label]:.0%} are zero")
        ax.set(xlabel="weight of the first layer, by size", ylabel="|weight| (zeros at 1e-6)")
        ax.set(yscale="log", ylim=(8e-7, 3))
        ax.legend(loc="lower center")
    return {
        "proximal_zeros": zeros["proximal L1"],
        "l1_zeros": zeros["L1"],
        "l2_zeros": zeros["L2"],
        "proximal_right": right["proximal L1"],
        "worst": min(right.values()),
        "best": max(right.values()),
    }


if __name__ == "__main__":
    print(main())
