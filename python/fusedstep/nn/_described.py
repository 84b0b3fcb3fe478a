"""Turn layers into plain data, and plain data into layers."""

from __future__ import annotations

from typing import Any

from ._layer import LAYERS, Layer


def described(layer: Layer) -> dict[str, Any]:
    """Return a dict for JSON: the class name of a layer, the arguments of its constructor, and its inner layers."""
    if LAYERS.get(type(layer).__name__) is not type(layer):
        kind = f"{type(layer).__module__}.{type(layer).__qualname__}"
        raise TypeError(f"nn.save: trained must have only layers of fusedstep.nn; got {layer!r} of the class {kind}")
    inner = {"layers": [described(own) for own in layer.sublayers]} if layer.sublayers else {}
    return {"type": type(layer).__name__, **layer.config(), **inner}


def layer(description: dict[str, Any]) -> Layer:
    """Make a layer from the dict that `described` returned."""
    config = dict(description)
    kind, inner = LAYERS[config.pop("type")], config.pop("layers", [])
    return kind(*map(layer, inner), **config)
