"""A model's layers replaced by ours where they stand."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch.nn import Module

from . import batch_norm, dropout
from ._memory import known

#: torch's class -> ours, which has the same state and adds options that are off.
OURS: dict[type[Module], type[Module]] = {
    torch.nn.Dropout: dropout.Dropout,
    torch.nn.BatchNorm1d: batch_norm.BatchNorm1d,
    torch.nn.BatchNorm2d: batch_norm.BatchNorm2d,
    torch.nn.BatchNorm3d: batch_norm.BatchNorm3d,
}

AnyModule = TypeVar("AnyModule", bound=Module)


def accelerate(model: AnyModule) -> AnyModule:
    r"""Make every dropout and batch normalisation of a model one of ours, in place.

    ::

        torch.nn.Dropout, BatchNorm1d, BatchNorm2d, BatchNorm3d -> the class of that name in fusedstep.torch

    A layer stays the object that it is: its name, parameters, buffers, mode and hooks, its place in the model and
    what an optimizer or another module holds of it. Only its class changes, and with it what `forward` does.

    Parameters
    ----------
    model : torch.nn.Module
        Any model, or one layer.

    Returns
    -------
    torch.nn.Module
        `model` itself.

    Raises
    ------
    TypeError
        If model is no module.

    Notes
    -----
    Left alone: subclasses of torch's layers (``SyncBatchNorm``, lazy or quantized layers, your own: they may do
    something else), layers with a `forward` of their own (assigned to the instance), and batch normalisation whose
    parameters or buffers are not float32 or float64 on the CPU. The model computes what it did, up to rounding and the
    masks that a seed gives; call it before ``torch.compile``. ``accelerate(model)`` twice is once.

    Examples
    --------
    >>> import torch
    >>> from fusedstep.torch import accelerate
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.1))
    >>> accelerate(model) is model, type(model[1]).__module__
    (True, 'fusedstep.torch.batch_norm')
    """
    if not isinstance(model, Module):
        raise TypeError(f"accelerate: model must be a torch.nn.Module; got {type(model).__name__}")
    for layer in model.modules():
        ours = OURS.get(type(layer))
        if ours is not None and is_plain(layer):
            layer.__class__ = ours
    return model


def is_plain(layer: Module) -> bool:
    """Return whether the layer does what its class says, on tensors that the kernels take."""
    tensors = (t for t in (*layer.parameters(), *layer.buffers()) if t.is_floating_point())
    return "forward" not in vars(layer) and all(known(t) for t in tensors)
