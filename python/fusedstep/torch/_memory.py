"""Conversions from torch's tensors to arrays over the same memory, for the kernels of the layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from .. import _core

Array = np.ndarray[Any, Any]

_HUGE = 4 << 20  # the smallest number of bytes for which NumPy requests huge pages
_DTYPES = frozenset({torch.float32, torch.float64, torch.bfloat16, torch.float16})


def served(x: Tensor, *others: Tensor | None) -> bool:
    """Return True if the kernels can use x and the tensors `others`.

    All these tensors must be dense and on the CPU, and must have the same dtype. The kernels must support this dtype.
    The result is False for subclasses of Tensor other than Parameter. It is also False under torch.compile, tracing,
    `torch.func` and forward-mode differentiation, because these work only with torch's own operators.
    """
    dtype = x.dtype
    if is_transformed() or not known(x) or x.is_neg():
        return False
    for t in (x, *others):
        if t is None:
            continue
        if not (
            (type(t) is Tensor or type(t) is Parameter) and t.is_cpu and t.dtype is dtype and t.layout is torch.strided
        ):
            return False
        require_memory(t)
    return True


def require_memory(t: Tensor) -> None:
    """Raise an error if the storage of a tensor is too small. torch itself would read and write beyond the storage."""
    last = t.storage_offset() + sum((n - 1) * stride for n, stride in zip(t.shape, t.stride(), strict=True))
    held = t.untyped_storage().nbytes()
    if t.numel() and held < (last + 1) * t.element_size():
        raise ValueError(
            f"a tensor of the layer must have memory for all of its elements; got {t.dtype} {tuple(t.shape)}, "
            f"whose storage holds {held} bytes"
        )


def is_transformed() -> bool:
    """Return True under torch.compile, tracing, `torch.func` and forward-mode differentiation."""
    return bool(
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )


def known(x: Tensor) -> bool:
    """Return True if the kernels support the dtype and the device of a tensor."""
    return x.is_cpu and x.dtype in _DTYPES


def array_of(t: Tensor) -> Array:
    """Return the tensor as an array over the same memory. Autograd does not record the use of the array."""
    t = t.detach()
    return t.view(torch.int16).numpy().view(_core.bfloat16) if t.dtype is torch.bfloat16 else t.numpy()


def empty(shape: tuple[int, ...], strides: tuple[int, ...] | None, dtype: torch.dtype) -> Tensor:
    """Return an uninitialized tensor for an output. If `strides` is None, the tensor is in C order.

    If the tensor has at least 4 MiB, huge pages are requested, as NumPy does for its arrays.
    """
    t = torch.empty(shape, dtype=dtype) if strides is None else torch.empty_strided(shape, strides, dtype=dtype)
    if t.nbytes >= _HUGE:
        _core.ask_for_huge_pages(t.data_ptr(), t.nbytes)
    return t


def tensor_of(a: Array) -> Tensor:
    """Return a tensor over the memory of an array. This is the inverse of `array_of`."""
    is_bfloat16 = a.dtype == _core.bfloat16
    return torch.from_numpy(a.view(np.int16)).view(torch.bfloat16) if is_bfloat16 else torch.from_numpy(a)


def flat_array_of(t: Tensor) -> Array:
    """Return the elements of a dense tensor as a flat array over the same memory, in memory order."""
    return array_of(t if t.is_contiguous() else t.as_strided((t.numel(),), (1,)))
