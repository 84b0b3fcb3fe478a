"""Dropout of torch's tensors, in one pass over memory and without a stored mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import _core
from .._base.random import threshold_and_scale, threshold_of
from ._memory import empty, flat_array_of, known, require_memory, served

How = tuple[int, int]  # (round(65536 p), seed of the mask)
SEEDS = 2**63 - 1  # all seeds are less than this number


class Dropout(torch.nn.Dropout):
    r"""In training, set each element to zero with probability p. In evaluation, return the input.

    ::

        y_i = m_i x_i / (1 - p),   P(m_i = 1) = 1 - p       (training)
        y_i = x_i                                           (evaluation)
        dx_i = m_i dy_i / (1 - p)                           (training)

    x is the input, y is the output, and m is the mask. dx and dy are the gradients with respect to x and y.

    Parameters
    ----------
    p : float
        The probability that an element is dropped, from 0 to 1. It is rounded to a multiple of 1/65536.
    inplace : bool
        If True, y overwrites x.

    Raises
    ------
    ValueError
        If p is less than 0 or greater than 1.

    Notes
    -----
    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov (2014); see `fusedstep.dropout`.

    Every training pass draws the seed of its mask from torch's random generator for the CPU. So the same
    ``torch.manual_seed`` gives the same masks, for any number of threads. If ``torch.utils.checkpoint`` computes a pass
    again, it uses the same mask.

    fusedstep's kernel supports float32, float64, bfloat16 and float16 CPU tensors, with any strides. For all other
    tensors, the code of torch's layer runs. The code of torch's layer also runs under tracing, ``torch.func`` and
    forward-mode differentiation. Under ``torch.compile``, a call of the kernel is one operator of the graph. With
    ``inplace=True``, the code of torch's layer is compiled instead.

    Differences from ``torch.nn.Dropout``: The same seed gives other masks than in torch. A dropped element is +0 even
    if x is infinite, nan or negative. p is rounded to a multiple of 1/65536.

    Examples
    --------
    >>> import torch
    >>> from fusedstep.torch import Dropout
    >>> layer = Dropout(0.5)
    >>> sorted(set(layer(torch.ones(64)).tolist()))
    [0.0, 2.0]
    >>> bool((layer.eval()(torch.ones(64)) == 1).all())
    True
    """

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and self.p > 0):
            return super().forward(input)
        if torch.compiler.is_compiling() and known(input) and not (self.inplace or torch.compiler.is_exporting()):
            return compiled(input, torch.randint(SEEDS, (), device="cpu"), float(self.p), dense_strides(input))
        with_graph = input.requires_grad and torch.is_grad_enabled()
        if not served(input) or (self.inplace and with_graph and (input.is_leaf or input._is_view())):
            return super().forward(input)  # if in place, torch raises an error for leaves, and supports views
        how = threshold_of("Dropout", float(self.p)), draw()
        if with_graph:
            return dropped(input, how, dense_strides(input), self.inplace)
        if self.inplace:
            torch.autograd.graph.increment_version(input)
        return drop(input, how, dense_strides(input), input if self.inplace else None)


def draw() -> int:
    """Draw the seed of a mask from torch's random generator for the CPU."""
    return int(torch.randint(SEEDS, (), device="cpu").item())


def dense_strides(x: Tensor) -> tuple[int, ...]:
    """Return the strides of a dense tensor with x's shape and with x's order of axes in memory."""
    return x.stride() if x.is_contiguous() else torch.empty_like(x).stride()


def drop(x: Tensor, how: How, strides: tuple[int, ...], out: Tensor | None = None) -> Tensor:
    """Return x with dropout: some elements are set to zero, and the others are scaled.

    `how` is (round(65536 p), seed of the mask), where p is the probability of a zero. The seed gives a sequence of
    random numbers, one for each element. `strides` must be the strides of a dense tensor. In a tensor with these
    strides, the first element in memory takes the first random number, and so on. If `out` is None, the result is a new
    tensor with these strides. Otherwise `out` must be x, and the result overwrites x.
    """
    require_memory(x)
    dense = x.stride() == strides
    y = x if out is x and dense else empty(x.shape, strides, x.dtype)
    threshold, seed = how
    _, scale = threshold_and_scale(threshold, "inverted", True)
    source = x if dense else y.copy_(x.detach())
    _core.drop("Dropout", "x", flat_array_of(source), flat_array_of(y), None, threshold, scale, seed, 0, 0)
    return y if out is None or dense else out.copy_(y)


class _Drop(torch.autograd.Function):
    """Dropout for autograd.

    Dropout is linear in x, and its Jacobian is diagonal. So the backward pass applies dropout with the same mask to dy,
    the gradient of the output.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, how: How, strides: tuple[int, ...], inplace: bool) -> Tensor:
        ctx.how, ctx.strides = how, strides
        if not inplace:
            return drop(x, how, strides)
        ctx.mark_dirty(x)
        return drop(x, how, strides, x)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        if dy.requires_grad and torch.is_grad_enabled():
            dx = dropped(dy, ctx.how, ctx.strides, False)
        else:
            dx = drop(dy, ctx.how, ctx.strides)
        return dx, None, None, None


dropped: Callable[..., Tensor] = _Drop.apply


@torch.library.custom_op("fusedstep::dropout", mutates_args=())
def compiled(x: Tensor, seed: Tensor, p: float, strides: Sequence[int]) -> Tensor:
    """Return the result of `drop` for x. In graphs of torch.compile, this function is one operator."""
    return drop(x, (threshold_of("Dropout", p), int(seed.item())), tuple(strides))


@compiled.register_fake
def _(x: Tensor, seed: Tensor, p: float, strides: Sequence[int]) -> Tensor:
    return torch.empty_strided(x.shape, strides, dtype=x.dtype, device=x.device)


def _setup(ctx: Any, inputs: tuple[Tensor, Tensor, float, Sequence[int]], output: Tensor) -> None:
    _, seed, ctx.p, ctx.strides = inputs
    ctx.save_for_backward(seed)


def _backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    return compiled(dy, *ctx.saved_tensors, ctx.p, ctx.strides), None, None, None


compiled.register_autograd(_backward, setup_context=_setup)
