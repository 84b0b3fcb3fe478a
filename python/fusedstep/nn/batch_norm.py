"""Batch normalisation in a network. It can also add a residual and apply a ReLU in the same pass over the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .._base.arrays import Array, Shape
from .._base.checks import check_width, flag, non_negative, up_to_one
from .._base.memory import Buffers
from ..ops import BatchNormGrads, batch_norm, batch_norm_backward
from ._layer import Layer, can_be_saved
from ._stack import every

if TYPE_CHECKING:
    from .sequential import Sequential


@can_be_saved
class BatchNorm(Layer):
    r"""Normalise every feature: in training by its mean and variance in the batch, in prediction by running statistics.

    ::

        y = act(gamma * (x - mean) / sqrt(var + eps) + beta),   act(a) = max(0, a) if relu, else a
        running statistic = (1 - momentum) * running statistic + momentum * batch statistic   (in training)

    In a batch of n rows, var has the divisor n. But the variance that updates ``running_var`` has the divisor n - 1.

    Parameters
    ----------
    num_features : int, optional
        Width of the input. By default, the width of the previous layer's output.
    momentum : float from 0 to 1, or None
        Weight of the current batch in the running statistics. None: the running statistics are the averages of the
        batch statistics over all training batches so far.
    eps : float
        Number that is added to the variance, >= 0.
    affine : bool
        If True, there are parameters ``gamma`` (initially 1) and ``beta`` (initially 0).
    relu : bool
        If True, also apply a ReLU, in the same pass over the data.

    Attributes
    ----------
    buffers : dict
        ``running_mean`` and ``running_var`` in the model's dtype, and ``num_batches``, the number of training batches
        so far, as int64. All three are saved with the model but not optimised.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described. In training, `forward` raises ValueError if the batch has fewer than two
        rows.

    Notes
    -----
    Source: Ioffe and Szegedy (2015), algorithm 1; see `fusedstep.batch_norm`. ``torch.nn.BatchNorm1d`` computes the
    same. Its ``weight`` and ``bias`` are called gamma and beta here. If a `BatchNorm` follows a `Linear`, set
    ``bias=False`` in the `Linear`, because beta replaces that bias.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.BatchNorm(relu=True), rng=0)
    >>> list(model.params), list(model.buffers)
    (['0.weight', '1.gamma', '1.beta'], ['1.running_mean', '1.running_var', '1.num_batches'])
    >>> y = model.forward(np.eye(3, dtype=np.float32), training=True)
    >>> bool(y.min() == 0), int(model.buffers["1.num_batches"][0])
    (True, 1)
    """

    works_in_place: ClassVar[bool] = True  # dx may overwrite dy; y must not overwrite x, which `backward` reads
    keeps_output: ClassVar[bool] = False
    keeps_dx: ClassVar[bool] = False

    def __init__(
        self,
        num_features: int | None = None,
        *,
        momentum: float | None = 0.1,
        eps: float = 1e-5,
        affine: bool = True,
        relu: bool = False,
    ) -> None:
        super().__init__()
        self.num_features = None if num_features is None else check_width("BatchNorm", "num_features", num_features)
        self.momentum = None if momentum is None else up_to_one("BatchNorm: momentum", momentum)
        self.eps = non_negative("BatchNorm: eps", eps)
        self.affine, self.relu = flag("BatchNorm: affine", affine), flag("BatchNorm: relu", relu)

    def config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("num_features", "momentum", "eps", "affine", "relu")}

    def fit_width(self, width: int | None) -> None:
        if self.num_features is None and width is None:
            raise ValueError(
                "BatchNorm: num_features must be given if no earlier layer sets the number of features; got None"
            )
        self.num_features = width if self.num_features is None else self.num_features

    def widths(self) -> tuple[int | None, int | None]:
        return self.num_features, self.num_features

    def param_shapes(self) -> dict[str, Shape]:
        return {"gamma": self._shape(), "beta": self._shape()} if self.affine else {}

    def buffer_shapes(self) -> dict[str, Shape]:
        return {"running_mean": self._shape(), "running_var": self._shape()}

    def counter_shapes(self) -> dict[str, Shape]:
        return {"num_batches": (1,)}

    def _shape(self) -> Shape:
        return (check_width("BatchNorm", "num_features", self.num_features),)

    def attach(
        self,
        params: Mapping[str, Array],
        grads: Mapping[str, Array],
        buffers: Mapping[str, Array],
        dtype: np.dtype[Any],
    ) -> None:
        super().attach(params, grads, buffers, dtype)
        self._gamma, self._beta = params.get("gamma"), params.get("beta")
        self._statistics = buffers["running_mean"], buffers["running_var"]
        self._num_batches = buffers["num_batches"]
        self._y, self._dx, self._dresidual = Buffers(dtype), Buffers(dtype), Buffers(dtype)

    def initialize(self, rng: np.random.Generator) -> None:
        for name, value in (("gamma", 1), ("beta", 0)):
            if name in self.params:
                self.params[name].fill(value)
        for name, value in (("running_mean", 0), ("running_var", 1), ("num_batches", 0)):
            self.buffers[name].fill(value)

    def forward(self, x: Array, training: bool) -> Array:
        return self.normalize(x, training)

    def backward(self, dy: Array, need_dx: bool) -> Array | None:
        dx = self.gradients(dy).dx
        return dx if need_dx else None

    def normalize(self, x: Array, training: bool, residual: Array | None = None) -> Array:
        """Return y, the output for the input x. A residual is added after the normalisation and before a ReLU.

        `gradients` reads x again, so do not change x before that call.
        """
        y = self._y[x.shape]
        if not (training or len(x)):  # the kernel refuses an empty batch, but a prediction may have no rows
            return y
        y, self._saved = batch_norm(
            np.ascontiguousarray(x),
            self._gamma,
            self._beta,
            *self._statistics,
            training,
            self.momentum,
            self.eps,
            1,
            self.relu,
            None if residual is None else np.ascontiguousarray(residual),
            y,
            num_batches=self._num_batches,
        )
        self._has_residual = residual is not None
        return y

    def gradients(self, dy: Array) -> BatchNormGrads:
        """Return the gradients of the loss, and copy those with respect to gamma and beta to ``self.grads``.

        dy is the gradient with respect to y, the output of the last `normalize`. The result is
        (dx, dgamma, dbeta, dresidual), where dx and dresidual are the gradients with respect to x and the
        residual. Without a residual, dresidual is None. With a residual and without a ReLU, dresidual is dy itself.
        """
        keeps_dy = self._has_residual and not self.relu
        dx = dy if self.over_dy and not keeps_dy else self._dx[dy.shape]
        out = (dx, self._dresidual[dy.shape]) if self._has_residual and self.relu else dx
        grads = batch_norm_backward(np.ascontiguousarray(dy), self._saved, out)
        for name, view in self.grads.items():
            np.copyto(view, getattr(grads, "d" + name))
        return grads


def measure_batch_norm(model: Sequential, batches: Iterable[Array]) -> None:
    """Measure the running statistics of all `BatchNorm` layers again, with the current weights.

    Running statistics are valid only for the weights with which they were measured. So if the model now has other
    weights, call this function before you evaluate the model. The model has other weights inside a block
    ``with optimizer.averaged():``, for example, or after you have copied averaged weights into the model. The old
    statistics are overwritten.

    Parameters
    ----------
    model : Sequential
        The network. Its forward passes run in training mode: `Dropout`, for example, applies masks. The weights and
        gradients do not change.
    batches : iterable of arrays
        At least one batch of inputs. Each batch must have at least two rows. The running statistics become the means of
        the batch statistics over all batches.

    Raises
    ------
    ValueError
        If there is no batch, if a batch does not fit the model, or if a batch has fewer than two rows. If an error is
        raised, the statistics have their old values.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> from fusedstep import nn
    >>> model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.BatchNorm(), rng=0)
    >>> opt = fs.SGDScheduleFree(model.params, lr=0.1)
    >>> x = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    >>> with opt.averaged():
    ...     nn.measure_batch_norm(model, [x[:4], x[4:]])
    ...     y = model.forward(x, training=False)
    >>> int(model.buffers["1.num_batches"][0])
    2
    """
    norms = [layer for layer in every(model.layers) if isinstance(layer, BatchNorm)]
    before = [({name: a.copy() for name, a in norm.buffers.items()}, norm.momentum) for norm in norms]
    seen = 0
    try:
        for norm in norms:
            norm.momentum = None
            norm.buffers["num_batches"].fill(0)
        for x in batches:
            model.forward(x, training=True)
            seen += 1
        if not seen:
            raise ValueError("measure_batch_norm: batches must hold at least one batch; got none")
    except BaseException:
        for norm, (buffers, _) in zip(norms, before, strict=True):
            for name, values in buffers.items():
                norm.buffers[name][...] = values
        raise
    finally:
        for norm, (_, momentum) in zip(norms, before, strict=True):
            norm.momentum = momentum
