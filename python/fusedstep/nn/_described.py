"""Layers as plain data, and again as layers."""

from __future__ import annotations

from typing import Any

from ._layer import Layer
from .activations import HardTanh, ReLU, Sigmoid, Tanh
from .batch_norm import BatchNorm
from .dropout import Dropout
from .linear import Linear
from .penalties import KLActivity, L1Activity, StudentTActivity
from .residual import Residual

ACTIVATIONS, PENALTIES = (ReLU, Tanh, HardTanh, Sigmoid), (L1Activity, StudentTActivity, KLActivity)
KINDS = (Linear, Dropout, BatchNorm, Residual, *ACTIVATIONS, *PENALTIES)
LAYERS: dict[str, type[Layer]] = {kind.__name__: kind for kind in KINDS}


def described(layer: Layer) -> dict[str, Any]:
    """Return the kind of a layer, its arguments and its inner layers."""
    if LAYERS.get(type(layer).__name__) is not type(layer):
        kind = f"{type(layer).__module__}.{type(layer).__qualname__}"
        raise TypeError(f"nn.save: trained must have layers of fusedstep.nn alone; got {layer!r} of {kind}")
    inner = {"layers": [described(own) for own in layer.sublayers]} if layer.sublayers else {}
    return {"type": type(layer).__name__, **layer.config(), **inner}


def layer(description: dict[str, Any]) -> Layer:
    """Make a layer of its description."""
    config = dict(description)
    kind, inner = LAYERS[config.pop("type")], config.pop("layers", [])
    return kind(*map(layer, inner), **config)
