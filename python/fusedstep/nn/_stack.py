"""Functions for a stack of layers: the layers of a `Sequential` or of a `Residual`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .._base.arrays import Shape
from ._layer import Forward, Layer

Width = int | None
Recipe = tuple[type[Layer], dict[str, Any], "list[Recipe]"]


def check_layers(owner: str, layers: Sequence[object]) -> None:
    """Refuse an empty sequence, and objects that are not layers, occur twice or belong to another model."""
    if not layers:
        raise ValueError(f"{owner}: layers must hold at least one layer; got none")
    seen: dict[int, int] = {}
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise TypeError(f"{owner}: layers[{i}] must be a Layer; got {layer!r}")
        if seen.setdefault(id(layer), i) != i:
            raise ValueError(f"{owner}: layers[{i}] must not be the same object as layers[{seen[id(layer)]}]")
        if layer.attached:
            raise ValueError(f"{owner}: layers[{i}] must not belong to another model; got {layer!r}")


def fit_widths(owner: str, layers: Sequence[Layer], width: Width = None) -> tuple[Width, Width]:
    """Set the width of each layer's input. Return the widths of the stack's input and output (None: any width).

    ``width`` is the width of the stack's input, or None if it is unknown.
    """
    first = width
    for i, layer in enumerate(layers):
        layer.fit_width(width)
        takes, gives = layer.widths()
        if takes is not None and width is not None and takes != width:
            raise ValueError(f"{owner}: layers[{i}] must take {width} features; got {layer!r}")
        first = takes if first is None else first
        width = gives if gives is not None else width
    return first, width


def allow_in_place(layers: Sequence[Layer]) -> None:
    """Allow each layer to overwrite its input x, and the gradient dy of its output, if no other code needs them.

    The first layer's x and the last layer's dy belong to the caller. Other arrays may be needed by a neighbouring
    layer.
    """
    last = len(layers) - 1
    for i, layer in enumerate(layers):
        layer.over_x = layer.works_in_place and i > 0 and not layers[i - 1].keeps_output
        layer.over_dy = layer.works_in_place and i < last and not layers[i + 1].keeps_dx


def forward_passes(layers: Sequence[Layer]) -> list[Forward]:
    """Return the layers' forward functions in order. One function may compute two neighbouring layers."""
    passes: list[Forward] = []
    rest = list(layers)
    while rest:
        layer = rest.pop(0)
        both = layer.forward_with(rest[0]) if rest else None
        if both:
            del rest[0]
        passes.append(both or layer.forward)
    return passes


def every(layers: Iterable[Layer]) -> Iterator[Layer]:
    """Yield the layers and all layers inside them."""
    for layer in layers:
        yield layer
        yield from every(layer.sublayers)


def total_penalty(layers: Sequence[Layer]) -> float:
    """Return the sum of the penalties of the layers and of all layers inside them."""
    return sum(layer.penalty + total_penalty(layer.sublayers) for layer in layers)


def numbered(shapes: Sequence[dict[str, Shape]]) -> dict[str, Shape]:
    """Put the index of the layer before every name: ``weight`` of layer 0 becomes ``0.weight``."""
    return {f"{i}.{name}": shape for i, own in enumerate(shapes) for name, shape in own.items()}


def recipe(layer: Layer) -> Recipe:
    """Return the type of a layer, its constructor's arguments and the recipes of its inner layers, for `make`."""
    return type(layer), layer.config(), [recipe(inner) for inner in layer.sublayers]


def make(how: Recipe) -> Layer:
    """Make a layer from the result of `recipe`."""
    kind, config, inner = how
    layers = [make(each) for each in inner]
    try:
        return kind(*layers, **config)
    except TypeError as error:
        name = kind.__name__
        raise TypeError(f"{name}.config must return all arguments of {name}; got {config!r}: {error}") from error
