"""The layers of a hidden block: a fully connected layer with its activation, batch norm and dropout."""

from __future__ import annotations

from .. import init
from ._layer import Layer
from .activations import ReLU
from .batch_norm import BatchNorm
from .dropout import Dropout
from .linear import Linear


def hidden_block(
    in_features: int,
    out_features: int,
    activation: type[Layer] | None = ReLU,
    *,
    batch_norm: bool = False,
    dropout: float = 0.0,
    penalty: Layer | None = None,
    weight_init: init.Initializer | None = None,
    bias_init: init.Initializer | None = None,
) -> list[Layer]:
    """Return the layers of a hidden block in order: `Linear`, `BatchNorm`, activation, penalty, `Dropout`.

    Parameters
    ----------
    in_features, out_features : int
        Widths of the block's input and output, >= 1.
    activation : type of Layer, optional
        Class of the activation. None: no activation. If the activation is `ReLU` and `batch_norm` is True, there is no
        `ReLU` layer, because the `BatchNorm` also computes the ReLU.
    batch_norm : bool
        If True, there is a `BatchNorm`. The `Linear` then has no bias, because batch norm would subtract the bias.
    dropout : float
        The argument p of `Dropout`: the probability that an element is set to 0. If p is 0, there is no `Dropout`.
    penalty : Layer, optional
        A penalty layer, such as `L1Activity`. It penalises the outputs of the activation.
    weight_init, bias_init : callable, optional
        See `Linear`.

    Returns
    -------
    list of Layer
        Arguments for `Sequential`.

    Raises
    ------
    TypeError, ValueError
        If a layer cannot be made with these arguments.

    Examples
    --------
    >>> from fusedstep import nn
    >>> nn.hidden_block(4, 8, batch_norm=True, dropout=0.5)
    [Linear(in_features=4, out_features=8, bias=False), BatchNorm(..., relu=True), Dropout(p=0.5, mode='inverted')]
    """
    linear = Linear(in_features, out_features, bias=not batch_norm, weight_init=weight_init, bias_init=bias_init)
    layers: list[Layer] = [linear]
    fused = batch_norm and activation is ReLU
    if batch_norm:
        layers.append(BatchNorm(relu=fused))
    if activation is not None and not fused:
        layers.append(activation())
    if penalty is not None:
        layers.append(penalty)
    if dropout:
        layers.append(Dropout(dropout))
    return layers
