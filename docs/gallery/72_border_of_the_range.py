"""A best value on the border of its range.

    u = log(best / low) / log(high / low);        on the border if u <= tolerance or u >= 1 - tolerance

Searched from 1e-5 to 1e-3, the best learning rate of a network on the digits is {narrow:.0e}, and `border_report`
says: "{warning}". Searched up to 1 it is {wide:.0e}, inside the range, and the validation loss falls from
{narrow_loss:.3f} to {wide_loss:.3f}.

Checked: `narrow_borders == 1 and wide_borders == 0 and wide_loss < narrow_loss`
"""

import warnings

import numpy as np
import optuna
from gallery import load, mlp, picture, training

import fusedstep as fs
from fusedstep import nn
from fusedstep.search import BorderWarning, border_report

RANGES = {"narrow": np.geomspace(1e-5, 1e-3, 7), "wide": np.geomspace(1e-5, 1.0, 16)}


def loss_of(data, lr):
    """Return the loss on the rows kept for validation."""
    model, loss = mlp(64, 32, 10, rng=0), nn.SoftmaxNLL()
    list(training(model, fs.Adam(model.params, lr=lr), data.x, data.y, epochs=15))
    return loss(model.predict(data.x_test), data.y_test)


def main():
    """Draw both searches, and where the first one should have gone on."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data, studies = load("digits", 300), {}
    for name, rates in RANGES.items():
        study = optuna.create_study(sampler=optuna.samplers.GridSampler({"lr": list(rates)}, seed=0))
        ends = rates[0], rates[-1]
        study.optimize(lambda trial, ends=ends: loss_of(data, trial.suggest_float("lr", *ends, log=True)))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", BorderWarning)
            border_report(study)
        studies[name] = study, [str(warning.message) for warning in caught]
    with picture("72_border_of_the_range") as ax:
        for (name, (study, _)), style in zip(studies.items(), ("o-", ".--"), strict=True):
            points = sorted((t.params["lr"], t.value) for t in study.trials)
            ax.plot(*np.transpose(points), style, label=f"{name} range, best {study.best_params['lr']:.1e}")
        ax.axvline(RANGES["narrow"][-1], color="0.4", linestyle=":", label="border of the narrow range")
        ax.set(xlabel="learning rate", ylabel="validation loss", xscale="log", yscale="log")
        ax.legend()
    numbers = {"warning": studies["narrow"][1][0]}
    for name, (study, messages) in studies.items():
        numbers |= {name: study.best_params["lr"], f"{name}_loss": study.best_value, f"{name}_borders": len(messages)}
    return numbers


if __name__ == "__main__":
    print(main())
