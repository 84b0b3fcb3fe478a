"""Save a trained model or a network as one safetensors file, and load it.

The file has arrays, and one JSON text under one metadata key. Two runs of the same training must write the same bytes.
With several metadata keys, the bytes would differ, because the order of the keys changes from run to run.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._base.arrays import Array
from .._base.files import read_tensors, replacing
from .._base.optional import need
from ._described import described, layer
from ._layer import Layer
from .sequential import Sequential
from .trained import FORMATS, TrainedModel, check_parts

KEY = "fusedstep"
STATISTICS = ("input.mean", "input.scale")


def save(path: str | os.PathLike[str], trained: TrainedModel | Sequential) -> None:
    """Write a trained model or a network to a file. If writing fails, an existing file keeps its content.

    Parameters
    ----------
    path : path
        Path of the file, usually with the suffix ``.safetensors``.
    trained : TrainedModel or Sequential
        The model. The same model always gives the same bytes. If it is a `Sequential`, the file has no names of
        features or classes, and no scaling of the inputs and outputs.

    Raises
    ------
    TypeError, ValueError
        If `trained` has another type, if it has a layer that is not of `fusedstep.nn`, or if its parts do not fit
        together.
    OSError
        If the file cannot be written.
    ImportError
        If safetensors is not installed.

    Notes
    -----
    The file has arrays and plain text. Unlike a pickle, it cannot execute code when it is read.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> model = nn.Sequential(nn.Linear(2, 1), rng=0)
    >>> trained = nn.TrainedModel(model, "regression", np.zeros(2), np.ones(2), ("a", "b"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     nn.save(path := os.path.join(folder, "model.safetensors"), trained)
    ...     again = nn.load(path)
    >>> rows = np.ones((3, 2))
    >>> bool((again.predict(rows) == trained.predict(rows)).all())
    True
    """
    if isinstance(trained, TrainedModel):
        check_parts(trained)
        model, about = trained.model, trained.description()
        arrays = dict(zip(STATISTICS, (trained.input_mean, trained.input_scale), strict=True))
    elif isinstance(trained, Sequential):
        model, arrays = trained, {}
        about = {"format": max(FORMATS), "task": None, **described_network(model)}
    else:
        raise TypeError(f"nn.save: trained must be a TrainedModel or a Sequential; got {type(trained).__name__}")
    arrays |= {f"model.{name}": array for name, array in model.state_dict().items()}
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps(about, sort_keys=True, separators=(",", ":"))
    data = need("safetensors.numpy", "safetensors").save(arrays, metadata={KEY: text})
    with replacing(path) as temporary:
        Path(temporary).write_bytes(data)


def load(path: str | os.PathLike[str]) -> Any:
    """Read a file that `save` or ``fusedstep train`` wrote.

    Parameters
    ----------
    path : path
        The ``.safetensors`` file.

    Returns
    -------
    TrainedModel or Sequential
        The saved model. A `TrainedModel` scales its inputs itself, so give it features that are not scaled.

    Raises
    ------
    OSError
        If the file does not exist or cannot be read.
    ValueError
        If the file is not a saved model, or if its parts do not fit together.
    ImportError
        If safetensors is not installed.

    Examples
    --------
    >>> load("nowhere.safetensors")
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: 'nowhere.safetensors'
    """
    need("safetensors", "safetensors")
    name, text, arrays = read_tensors("nn.load", path)
    try:
        return _assemble(json.loads(text), arrays)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        why = f"missing or unknown name {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"nn.load: {name!r} does not describe a model: {why}") from None


def _assemble(about: dict[str, Any], arrays: dict[str, Array]) -> TrainedModel | Sequential:
    if type(about["format"]) is not int or about["format"] not in FORMATS:
        raise ValueError(f"its format must be {' or '.join(map(str, FORMATS))}; got {about['format']!r}")
    alone = about["task"] is None and about["format"] == max(FORMATS)
    for name in ("layers",) if alone else ("feature_names", "classes", "layers"):
        if not isinstance(about[name], list):
            raise ValueError(f"its {name} must be a list; got {about[name]!r}")
    known = () if alone else STATISTICS
    unknown = [name for name in arrays if not name.startswith("model.") and name not in known]
    if unknown:
        allowed = "".join(f"be {name!r} or " for name in known)
        raise ValueError(f"the name of a tensor must {allowed}begin with 'model.'; got {unknown[0]!r}")
    weights = {name.removeprefix("model."): a for name, a in arrays.items() if name.startswith("model.")}
    model = network_of(about, weights)
    if alone:
        return model
    return TrainedModel.of(model, about, *(arrays[name] for name in STATISTICS))


def described_network(model: Sequential) -> dict[str, Any]:
    """Return a network's layers and dtype as JSON data. These data and the ``state_dict`` define the network.

    Raises
    ------
    TypeError
        If a layer is not of `fusedstep.nn`.
    """
    return {"layers": [described(own) for own in model.layers], "dtype": model.dtype.name}


def network_of(description: Mapping[str, Any], weights: Mapping[str, Array]) -> Sequential:
    """Make a network from its description and its ``state_dict``.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the description or the weights are not valid, or do not fit together.
    """
    layers = [layer(config) for config in description["layers"]]
    _check_size(layers, weights)
    model = Sequential(*layers, dtype=description["dtype"], rng=0)
    model.load_state_dict(weights)
    return model


def _check_size(layers: list[Layer], weights: Mapping[str, Array]) -> None:
    """Refuse layers that need more or fewer numbers than the file holds, before memory is allocated."""
    sizes = (layer.param_shapes() | layer.buffer_shapes() | layer.counter_shapes() for layer in layers)
    shapes = [shape for own in sizes for shape in own.values()]
    need, found = sum(map(math.prod, shapes)), sum(array.size for array in weights.values())
    if need != found:
        raise ValueError(f"its tensors must hold {need} numbers, as its layers need; got {found}")
