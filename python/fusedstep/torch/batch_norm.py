"""Batch normalisation of torch's tensors. The same pass can add a residual and apply a ReLU."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from .. import _core
from .._base.checks import flag
from ._memory import Array, array_of, empty, require_memory, served, tensor_of


class _Options(NamedTuple):
    """The arguments of a call, except the input, the weight, the bias and the residual."""

    running: tuple[Tensor | None, Tensor | None, Tensor | None]  # mean, variance, number of batches
    training: bool  # True if the layer uses the statistics of the batch
    momentum: float | None
    eps: float
    relu: bool


class _Kept(NamedTuple):
    """The values that the computation of the gradients needs, except the layer's input x."""

    saved: _core.BatchNormSaved
    strides: tuple[int, ...] | None  # the strides of x if the channels are last in memory, else None
    relu: bool
    has_residual: bool


class _Unconvertible:
    """The attribute ``qconfig`` of our layers. It raises AttributeError, as if the layer did not have this attribute.

    torch's `convert_sync_batchnorm` looks for ``qconfig`` in each layer that it converts. If the layer has a ReLU, the
    attribute raises a TypeError instead, because torch's new layer would lack the ReLU.
    """

    def __get__(self, layer: Any, owner: Any) -> Any:
        if layer is not None and layer.relu and sys._getframe(1).f_code.co_name == "convert_sync_batchnorm":
            raise TypeError(
                "torch.nn.SyncBatchNorm.convert_sync_batchnorm: layers must have relu=False, because torch's layer has "
                "no ReLU; got relu=True; use fusedstep.torch.SyncBatchNorm.convert_sync_batchnorm, which keeps the ReLU"
            )
        raise AttributeError("qconfig")


class _Normalization(_BatchNorm):
    """Base of all batch normalisation layers. The subclasses accept different numbers of axes."""

    qconfig = _Unconvertible()
    relu: bool = False  # a default in the class, because `accelerate` changes the class of torch's instances

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
        relu: bool = False,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.relu = flag(f"{type(self).__name__}: relu", relu)

    def extra_repr(self) -> str:
        text: str = super().extra_repr()
        return f"{text}, relu=True" if self.relu else text

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        self._check_input_dim(input)
        if residual is not None and residual.shape != input.shape:
            need, got = tuple(input.shape), tuple(residual.shape)
            raise ValueError(f"{type(self).__name__}: residual must be of the input's shape {need}; got {got}")
        options = self._options()
        if not (self._serves(input, residual) and self._fits(input, options)):
            return self._by_torch(input, residual)
        inputs = input, self.weight, self.bias, residual
        if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs):
            y = normalized(*inputs, options)
        else:
            y, _ = normalize(*inputs, options)
        if self.training:
            torch.autograd.graph.increment_version([t for t in options.running if t is not None])
        return y

    def _options(self) -> _Options:
        """Return the arguments that torch's layer would use in the layer's present mode (training or evaluation)."""
        tracked = not self.training or self.track_running_stats
        mean, var = (self.running_mean, self.running_var) if tracked else (None, None)
        training = self.training or (mean is None and var is None)
        updated = self.training and mean is not None
        running = mean, var, self.num_batches_tracked if updated else None
        return _Options(running, training, self.momentum if updated else 0.0, self.eps, self.relu)

    def _serves(self, x: Tensor, residual: Tensor | None) -> bool:
        """Return True if the kernel supports the dtypes and devices of all tensors.

        Parameters and buffers must have x's dtype. If the elements of x have 16 bits, parameters and buffers may also
        be float32.
        """
        given = [t for t in (self.weight, self.bias, self.running_mean, self.running_var) if t is not None]
        if not given or given[0].dtype is x.dtype:
            return served(x, residual, *given)
        return given[0].dtype is torch.float32 and x.element_size() == 2 and served(x, residual) and served(*given)

    def _fits(self, x: Tensor, options: _Options) -> bool:
        """Return True if the kernel supports the values of these arguments. torch's layer handles all other calls."""
        mean, var, batches = options.running
        per_channel = x.numel() // max(self.num_features, 1)
        momentum = options.momentum
        return (
            x.shape[1] == self.num_features
            and (per_channel > 1 and options.eps > 0 if options.training else per_channel > 0 and options.eps >= 0)
            and (mean is None) == (var is None)
            and (batches is not None if momentum is None else 0 <= momentum <= 1)
            and (batches is None or (batches.is_cpu and batches.dtype is torch.int64))
            and all(t is None or t.is_contiguous() for t in (self.weight, self.bias, mean, var))
        )

    def _by_torch(self, input: Tensor, residual: Tensor | None) -> Tensor:
        y = super().forward(input)
        y = y if residual is None else y + residual
        return torch.nn.functional.relu(y) if self.relu else y


class BatchNorm1d(_Normalization, torch.nn.BatchNorm1d):
    r"""Normalise every channel of an (N, C) or (N, C, L) input, then optionally add a residual and apply a ReLU.

    ::

        y = act(weight * (x - mean) / sqrt(var + eps) + bias + residual),   act(z) = max(0, z) if relu, else z
        running = (1 - momentum) * running + momentum * (mean, var n / (n - 1))   (in training)

    x is the input, and y is the output of ``layer(x)`` or ``layer(x, residual)``. running is the pair (running_mean,
    running_var). n is the number of values per channel.

    In training, mean and var are the mean and the variance of the batch, with the divisor n. The factor n / (n - 1)
    turns var into the unbiased variance, with the divisor n - 1. In evaluation, mean is running_mean, and var is
    running_var.

    Parameters
    ----------
    num_features, eps, momentum, affine, track_running_stats, device, dtype, bias
        As for ``torch.nn.BatchNorm1d``.
    relu : bool
        If True, the layer also applies a ReLU.

    Attributes
    ----------
    weight, bias, running_mean, running_var, num_batches_tracked
        As in torch's layer. torch's layer can load the ``state_dict`` of this layer, and vice versa.

    Raises
    ------
    TypeError
        If `relu` is not a bool.
    ValueError
        In ``layer(x)`` and ``layer(x, residual)``, if x has a wrong number of axes, or if the residual does not have
        x's shape. In training, also if eps <= 0 or if there is only one value per channel.

    Notes
    -----
    Source: Ioffe and Szegedy (2015), algorithm 1; see `fusedstep.batch_norm`. var stays precise even if the mean is
    much larger than the standard deviation. Results have the same bits for any number of threads.

    Inputs in two memory layouts are used without a copy, and the output then has the layout of the input. The first
    layout is torch's default, in which the channels are the second axis in memory. In the second layout, the channels
    are the last axis in memory (``torch.channels_last``, or a transposed (N, L, C) tensor). Inputs in other layouts are
    copied.

    fusedstep's kernel supports float32, float64, bfloat16 and float16 inputs on the CPU. Parameters and buffers must
    have the input's dtype. With a bfloat16 or float16 input, they may also be float32. For such an input, the kernel
    computes everything, including the ReLU, in float32. Then it rounds the result once, to nearest even.

    If the kernel does not support a call, the layer uses torch's operators, also for the residual and the ReLU. It also
    uses torch's operators under ``torch.compile``, tracing, ``torch.func`` and forward-mode differentiation, and for
    gradients that will be differentiated again (``create_graph=True``).

    Differences from torch's layer: torch's layer has no `relu` and no residual. If a mean is large, the results of this
    layer are more precise than torch's. Some programs fold a batch norm layer into a convolution: they change the
    convolution's weights and remove the layer. If the layer has ``relu=True``, such a program must apply the ReLU
    itself. For a layer with ``relu=True``, torch's ``SyncBatchNorm.convert_sync_batchnorm`` raises a TypeError. Use
    ``fusedstep.torch.SyncBatchNorm.convert_sync_batchnorm``, which keeps the ReLU.

    Examples
    --------
    >>> import torch
    >>> from fusedstep.torch import BatchNorm1d
    >>> layer = BatchNorm1d(2, eps=1e-12)
    >>> layer(torch.tensor([[1.0, 10.0], [3.0, 30.0]])).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    >>> layer.running_mean.tolist(), int(layer.num_batches_tracked)
    ([0.20000000298023224, 2.0], 1)
    >>> residual = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    >>> BatchNorm1d(2, eps=1e-12, relu=True)(torch.tensor([[1.0, 10.0], [3.0, 30.0]]), residual).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """


class BatchNorm2d(_Normalization, torch.nn.BatchNorm2d):
    """Normalise every channel of an (N, C, H, W) input. Otherwise this layer is the same as `BatchNorm1d`."""


class BatchNorm3d(_Normalization, torch.nn.BatchNorm3d):
    """Normalise every channel of an (N, C, D, H, W) input. Otherwise this layer is the same as `BatchNorm1d`."""


def normalize(
    x: Tensor, gamma: Tensor | None, beta: Tensor | None, residual: Tensor | None, options: _Options
) -> tuple[Tensor, _Kept]:
    """Return two values: the layer's output for the input x, and the argument `kept` for the function `gradients`.

    gamma and beta are the layer's weight and bias.
    """
    last = not x.is_contiguous() and x.movedim(1, -1).is_contiguous()
    strides = x.stride() if last else None
    y = empty(x.shape, strides, x.dtype)
    per_channel = (None if t is None else array_of(t) for t in (gamma, beta, *options.running))
    weight, bias, mean, var, batches = per_channel
    _, saved = _core.batch_norm(
        array_in_order(x, last),
        weight,
        bias,
        mean,
        var,
        options.training,
        options.momentum,
        options.eps,
        -1 if last else 1,
        options.relu,
        None if residual is None else array_in_order(residual, last),
        array_in_order(y, last),
        batches,
    )
    saved.release_x()  # the autograd context keeps x instead, so torch detects changes of x
    return y, _Kept(saved, strides, options.relu, residual is not None)


def gradients(dy: Tensor, x: Tensor, kept: _Kept) -> tuple[Tensor | None, ...]:
    """Return the gradients of the input x, the weight, the bias and the residual.

    dy is the gradient of the layer's output.
    """
    saved, strides, relu, has_residual = kept
    last = strides is not None
    dx = empty(x.shape, strides, x.dtype)
    dresidual = empty(x.shape, strides, x.dtype) if relu and has_residual else dy if has_residual else None
    out: Any = array_in_order(dx, last)
    if relu and dresidual is not None:
        out = out, array_in_order(dresidual, last)
    grads = _core.batch_norm_backward(array_in_order(dy, last), saved, out, array_in_order(x, last))
    dgamma, dbeta = (None if g is None else tensor_of(g) for g in grads[1:3])
    return dx, dgamma, dbeta, dresidual


def differentiable_gradients(
    dy: Tensor, x: Tensor, gamma: Tensor | None, beta: Tensor | None, kept: _Kept, training: bool, eps: float
) -> tuple[Tensor | None, ...]:
    """Return the results of `gradients`, computed with torch's operators, so that autograd can differentiate them.

    gamma and beta are the layer's weight and bias.
    """
    mean = var = None
    if not training:
        invstd = torch.from_numpy(kept.saved.invstd)
        kind = x.dtype if gamma is None else gamma.dtype
        mean, var = (t.to(kind) for t in (torch.from_numpy(kept.saved.mean), invstd**-2 - eps))
    z = torch.nn.functional.batch_norm(x, mean, var, gamma, beta, training, 0.0, eps)
    if kept.relu:  # for dy = 1, the residual's gradient is 1 where the ReLU's argument is positive, else 0
        opened = gradients(torch.ones_like(dy), x, kept)[3]
        dy = dy * (z > 0 if opened is None else opened)
    wanted = [t is not None and t.requires_grad for t in (x, gamma, beta)]
    inputs = [t for t, is_wanted in zip((x, gamma, beta), wanted, strict=True) if is_wanted and t is not None]
    found = iter(torch.autograd.grad(z, inputs, dy, create_graph=True) if inputs else ())
    return *(next(found) if is_wanted else None for is_wanted in wanted), dy if kept.has_residual else None


def array_in_order(t: Tensor, last: bool) -> Array:
    """Return the tensor as a C-contiguous array, without a copy if possible.

    If `last` is True, the channels become the last axis of the array.
    """
    require_memory(t)
    return array_of((t.movedim(1, -1) if last else t).contiguous())


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gamma: Tensor | None, beta: Tensor | None, residual: Tensor | None, options: _Options
    ) -> Tensor:
        y, ctx.kept = normalize(x, gamma, beta, residual, options)
        ctx.save_for_backward(x, gamma, beta)
        ctx.training, ctx.eps = options.training, options.eps
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, beta = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *differentiable_gradients(dy, x, gamma, beta, ctx.kept, ctx.training, ctx.eps), None
        return *gradients(dy, x, ctx.kept), None


normalized: Callable[..., Tensor] = _Normalize.apply
