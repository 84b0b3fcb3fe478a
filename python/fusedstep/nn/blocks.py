"""The layers of a hidden block."""

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
    """Return the parts of a hidden layer: `Linear`, `BatchNorm`, an activation, a penalty on it, `Dropout`.

    Parameters
    ----------
    in_features, out_features : int
        Widths, >= 1.
    activation : type of Layer, optional
        None: the identity. A ReLU after a batch norm is applied in the same pass.
    batch_norm : bool
        If True, the `Linear` has no bias, because batch norm would subtract it.
    dropout : float
        Probability. If it is 0, there is no `Dropout`.
    penalty : Layer, optional
        A penalty on the activations.
    weight_init, bias_init : callable, optional
        See `Linear`.

    Returns
    -------
    list of Layer
        For `Sequential`.

    Raises
    ------
    TypeError, ValueError
        If one of the layers refuses its argument.

    Examples
    --------
    >>> from fusedstep import nn
    >>> hidden_block(4, 8, batch_norm=True, dropout=0.5)
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
