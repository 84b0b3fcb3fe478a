"""Make a network from an estimator's parameters."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from .. import nn
from .._base.arrays import Array
from ._parameters import ACTIVATIONS, Parameters


def make_network(given: Parameters, n_in: int, n_out: int, dtype: Any, rng: np.random.RandomState) -> nn.Sequential:
    """Make the network for the parameters `given`.

    By default, the initial weights W and biases b of each layer are drawn as in scikit-learn::

        W, b ~ U(-r, r),    r = sqrt(a / (fan_in + fan_out)),    a = 2 if activation is "logistic", else 6

    The same seed gives the same initial weights as in scikit-learn, unless more random numbers are drawn, for example
    for dropout.
    """
    generator = np.random.default_rng(rng.randint(2**31) if given._draws else 0)
    widths = [n_in, *given._hidden, n_out]
    layers: list[nn.Layer] = []
    for ends in itertools.pairwise(widths[:-1]):
        layers += nn.hidden_block(
            *ends,
            ACTIVATIONS[given.activation],
            batch_norm=given.batch_norm,
            dropout=given.dropout,
            penalty=_penalty(given),
            **_first_values(given, *ends, rng),
        )
    ends = widths[-2], widths[-1]
    layers.append(nn.Linear(*ends, **_first_values(given, *ends, rng)))
    return nn.Sequential(*layers, dtype=dtype, rng=generator)


def _penalty(given: Parameters) -> nn.Layer | None:
    if not given.sparsity:
        return None
    if given.sparsity_penalty == "kl":
        return nn.KLActivity(given.sparsity, given.sparsity_target)
    return {"l1": nn.L1Activity, "student_t": nn.StudentTActivity}[given.sparsity_penalty](given.sparsity)


def put_pretrained(given: Parameters, model: nn.Sequential, x: Array, seed: int) -> None:
    """Train stacks of auto-encoders on x. Copy the weights and biases of the best stack into the hidden layers."""
    best = nn.pretrain(x, given._hidden, ACTIVATIONS[given.activation], seed=seed, **given.pretraining or {})[0]
    for weight, bias, layer in zip(coefs(model), intercepts(model), best.layers, strict=False):
        weight[...], bias[...] = layer.weight, layer.bias  # the output layer has no auto-encoder


def _first_values(given: Parameters, n_in: int, n_out: int, rng: np.random.RandomState) -> dict[str, Any]:
    bound = np.sqrt((2.0 if given.activation == "logistic" else 6.0) / (n_in + n_out))

    def uniform(shape: tuple[int, ...], _: np.random.Generator, dtype: Any) -> Array:
        return rng.uniform(-bound, bound, shape).astype(dtype)

    return {"weight_init": given.weight_init or uniform, "bias_init": given.bias_init or uniform}


class Views(list[Array]):
    """A list of a network's arrays. An assignment to an entry writes into the network."""

    def __setitem__(self, index: Any, value: Any) -> None:
        for array, new in zip(self[index], value, strict=True) if isinstance(index, slice) else [(self[index], value)]:
            if np.shape(new) != array.shape:
                raise ValueError(
                    f"an array of coefs_ or intercepts_ must keep its shape {array.shape}; got {np.shape(new)}"
                )
            array[...] = new


def coefs(model: nn.Sequential) -> Views:
    """Return the weights of each layer."""
    return Views(layer.params["weight"] for layer in model.layers if isinstance(layer, nn.Linear))


def intercepts(model: nn.Sequential) -> Views:
    """Return the biases of each layer. A layer with batch norm has none; the beta of its batch norm is returned."""
    named = [layer.params.get("bias", layer.params.get("beta")) for layer in model.layers]
    return Views(array for array in named if array is not None)
