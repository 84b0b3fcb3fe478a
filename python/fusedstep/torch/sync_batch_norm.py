"""Batch normalisation on the CPU, with statistics over the batches of all processes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from .. import _core
from ._memory import Array, array_of, empty, is_transformed, served
from ._ranks import gathered
from .batch_norm import _Normalization, _Options, array_in_order


class SyncBatchNorm(_Normalization):
    r"""Normalise every channel by the mean and variance over the batches of all processes.

    ::

        y = act(weight * (x - mean) / sqrt(var + eps) + bias + residual),   act(z) = max(0, z) if relu, else z
        running = (1 - momentum) * running + momentum * (mean, var * N / (N - 1))   (in training)

    x is the input, which has two or more axes, and y is the output. residual is an optional second argument of the
    call, with x's shape. running is the pair (running_mean, running_var). All processes together have N values per
    channel. In training, mean and var are the mean and the biased variance of these N values. In evaluation, mean and
    var are running_mean and running_var. If ``track_running_stats=False``, evaluation uses the mean and the biased
    variance of the process's own batch instead.

    Parameters
    ----------
    num_features, eps, momentum, affine, track_running_stats, device, dtype, bias
        As for ``torch.nn.SyncBatchNorm``.
    process_group : torch.distributed.ProcessGroup, optional
        The processes whose batches are used. The default is all processes.
    relu : bool
        If True, the layer also applies a ReLU.

    Raises
    ------
    TypeError
        In training on several processes, if the input is not a dense float32 or float64 tensor on the CPU, or if
        another tensor of the layer does not have the input's dtype. Subclasses of Tensor other than Parameter are
        refused, and so is a call under torch.compile, tracing, torch.func or forward-mode differentiation.
    ValueError
        If the input has fewer than two axes or does not have `num_features` channels, or if the residual does not have
        the input's shape. In training, also if all processes together have at most one value per channel.

    Notes
    -----
    Each process computes three statistics of its batch in float64: the number of values, the mean and the sum of
    squared deviations. Then each process gathers the statistics of all processes, and merges them by the formulas of
    Chan, Golub and LeVeque (1979), in the order of the ranks. So all ranks have the same merged statistics and running
    statistics, bit for bit. The batches may have different sizes, and some may be empty.

    As in torch, each process computes the gradients of the weight and the bias from its own batch, and
    DistributedDataParallel reduces these gradients. Gradients cannot be differentiated again (``create_graph=True``).

    Differences from ``torch.nn.SyncBatchNorm``: torch's layer does not support tensors on the CPU. torch's layer has no
    ReLU and no residual, and rounds the statistics to the input's dtype.

    Examples
    --------
    >>> import torch
    >>> from fusedstep.torch import BatchNorm1d, SyncBatchNorm
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), BatchNorm1d(8, relu=True))
    >>> layer = SyncBatchNorm.convert_sync_batchnorm(model)[1]
    >>> type(layer).__name__, layer.relu
    ('SyncBatchNorm', True)
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
        relu: bool = False,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias, relu=relu)
        self.process_group = process_group

    @classmethod
    def convert_sync_batchnorm(cls, module: torch.nn.Module, process_group: Any = None) -> torch.nn.Module:
        """Replace all batch normalisation layers in a model by layers of this class.

        Layers of torch and layers of this package are replaced. Each new layer keeps the parameters, the buffers and
        the training or evaluation mode of the old layer. If the old layer has ``relu=True``, so does the new layer.

        Parameters
        ----------
        module : torch.nn.Module
            A model, or one layer.
        process_group : torch.distributed.ProcessGroup, optional
            The processes that compute their statistics together. The default is all processes.

        Returns
        -------
        torch.nn.Module
            The same model, changed in place. If `module` itself is a batch normalisation layer, the result is the new
            layer.
        """
        made = module
        if isinstance(module, _BatchNorm):
            options = module.eps, module.momentum, module.affine, module.track_running_stats, process_group
            relu = isinstance(module, _Normalization) and module.relu
            made = cls(module.num_features, *options, device="meta", bias=module.bias is not None, relu=relu)
            made._parameters, made._buffers = module._parameters.copy(), module._buffers.copy()
            made.training = module.training
        for name, child in module.named_children():
            made.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return made

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2 or input.shape[1] != self.num_features:
            need = f"have at least 2 axes, with {self.num_features} channels in the second axis"
            raise ValueError(f"SyncBatchNorm: input must {need}; got shape {tuple(input.shape)}")

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        self._check_input_dim(input)
        if not (self.training and dist.is_available() and dist.is_initialized()):
            return super().forward(input, residual)
        group = self.process_group or dist.group.WORLD
        if dist.get_world_size(group) == 1:
            return super().forward(input, residual)
        if residual is not None and residual.shape != input.shape:
            raise ValueError(
                f"SyncBatchNorm: residual must have the input's shape {tuple(input.shape)}; got {tuple(residual.shape)}"
            )
        options = self._options()
        others = residual, self.weight, self.bias, *options.running[:2]
        if is_transformed():
            modes = "torch.compile, tracing, torch.func or forward-mode differentiation"
            raise TypeError(f"SyncBatchNorm: training on several processes must not run under {modes}")
        if input.element_size() < 4 or not served(input, *others):
            got = ", ".join(dict.fromkeys(_described(t) for t in (input, *others) if t is not None))
            raise TypeError(
                "SyncBatchNorm: input, residual, weights and buffers must be dense tensors on the CPU, all float32 or "
                f"all float64, and of the class Tensor or Parameter; got {got}"
            )
        y: Tensor = _Synchronized.apply(input, self.weight, self.bias, residual, options, group)
        torch.autograd.graph.increment_version([t for t in options.running if t is not None])
        return y


def _described(t: Tensor) -> str:
    remark = " (with a lazy negation)" if t.is_neg() else "" if t.layout == torch.strided else f" ({t.layout})"
    return f"{type(t).__name__} of {t.dtype} on {t.device}{remark}"


class _Statistics(NamedTuple):
    """Statistics of each channel over the `n` values of all ranks. `center` is `mean`, rounded to the input's dtype."""

    n: int
    mean: Array
    var: Array
    center: Array

    @property
    def rest(self) -> Array:
        """The rounding error of `center`."""
        return self.mean - self.center


def _statistics(x: Array, axis: int, group: Any) -> _Statistics:
    channels = x.shape[axis]
    own = _core.ChannelMoments()
    if x.size:
        own.update(x, axis)
    row = torch.zeros(1 + 2 * channels, dtype=torch.float64)
    if own.count:
        row = torch.from_numpy(np.concatenate([[own.count], own.mean, own.m2]))
    total = _core.ChannelMoments()
    for count, *values in gathered(row, group).tolist():
        part = _core.ChannelMoments.__new__(_core.ChannelMoments)
        part.__setstate__((int(count), values[:channels] if count else [], values[channels:] if count else []))
        total.merge(part)
    if total.count < 2:
        raise ValueError(f"SyncBatchNorm: expected more than 1 value per channel when training; got {total.count}")
    return _Statistics(total.count, total.mean, total.m2 / total.count, total.mean.astype(x.dtype))


def _record(options: _Options, s: _Statistics) -> None:
    """Update the running statistics with the statistics `s` of the batches of all ranks."""
    mean, var, batches = options.running
    if mean is None or var is None or batches is None:
        return
    momentum = 1 / (int(batches) + 1) if options.momentum is None else options.momentum
    for running, value in ((array_of(mean), s.mean), (array_of(var), s.var * (s.n / (s.n - 1)))):
        running[...] = (1 - momentum) * running.astype(np.float64) + momentum * value
    batches.detach().add_(1)


def _per_channel(t: Tensor | None, like: Array, value: float) -> Array:
    return np.full(like.shape, value, like.dtype) if t is None else array_of(t.contiguous())


class _Synchronized(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        residual: Tensor | None,
        options: _Options,
        group: Any,
    ) -> Tensor:
        last = not x.is_contiguous() and x.movedim(1, -1).is_contiguous()
        strides, axis = (x.stride(), -1) if last else (None, 1)
        values, y = array_in_order(x, last), empty(x.shape, strides, x.dtype)
        s = _statistics(values, axis, group)
        _record(options, s)
        ctx.save_for_backward(x, weight)
        ctx.kept = s, strides, group, bias is not None, residual is not None, options.relu
        if not x.numel():
            return y
        gamma = _per_channel(weight, s.center, 1)
        invstd = 1 / np.sqrt(s.var + options.eps)
        beta = (_per_channel(bias, s.center, 0) - s.rest * gamma * invstd).astype(values.dtype)
        more = None if residual is None else array_in_order(residual, last)
        constants = gamma, beta, s.center, s.var.astype(values.dtype), False, 0.0, options.eps, axis, options.relu
        _, ctx.saved = _core.batch_norm(values, *constants, more, array_in_order(y, last), None)
        ctx.saved.release_x()
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        s, strides, group, has_bias, has_residual, relu = ctx.kept
        last = strides is not None
        dx = empty(x.shape, strides, x.dtype)
        opened = empty(x.shape, strides, x.dtype) if has_residual and relu else None  # the residual's gradient
        own = np.zeros((2, s.mean.size))
        if x.numel():
            out: Any = array_in_order(dx, last)
            out = out if opened is None else (out, array_in_order(opened, last))
            values = array_in_order(x, last)
            grads = _core.batch_norm_backward(array_in_order(dy, last), ctx.saved, out, values)
            own[:] = grads[2], grads[1] - s.rest * ctx.saved.invstd * grads[2]
        if ctx.needs_input_grad[0]:
            total = sum(gathered(torch.from_numpy(own), group).numpy(), np.zeros_like(own))
            if x.numel():
                _through_statistics(array_in_order(dx, last), values, weight, s, ctx.saved.invstd, total, last)
        dbeta, dgamma = (torch.from_numpy(g.astype(s.center.dtype)) for g in own)
        dresidual = (dy if opened is None else opened) if has_residual else None
        return dx, None if weight is None else dgamma, dbeta if has_bias else None, dresidual, None, None


def _through_statistics(
    dx: Array, x: Array, weight: Tensor | None, s: _Statistics, invstd: Array, total: Array, last: bool
) -> None:
    """Add to dx the part of x's gradient that arises because the mean and the variance depend on x.

    Let xhat = (x - mean) * invstd, and let dz be the gradient of gamma * xhat + beta, where gamma is the weight. With
    sums over the N values of a channel on all ranks, this part is::

        -gamma * invstd * (sum(dz) + xhat * sum(dz * xhat)) / N

    `total` has the two sums. In each channel, this part is a linear function of x. The kernel of batch normalisation in
    evaluation mode computes a linear function of x, and adds a residual. So this kernel can add the part to dx: it gets
    dx as the residual, and writes the sum to dx.
    """
    gamma = _per_channel(weight, s.center, 1) * invstd / s.n
    slope = -gamma * invstd * total[1]
    offset = -gamma * total[0] - slope * s.rest
    constants = slope.astype(x.dtype), offset.astype(x.dtype), s.center, np.ones_like(s.center)
    _core.batch_norm(x, *constants, False, 0.0, 0.0, -1 if last else 1, False, dx, dx, None)
