"""Batch normalisation, forward and backward."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import _core
from .._base.checks import axis_of, flag, non_negative, up_to_one

Array = np.ndarray[Any, Any]


class BatchNormGrads(NamedTuple):
    """The gradients that `batch_norm_backward` returns.

    Attributes
    ----------
    dx : ndarray like x
        Gradient of the input x.
    dgamma, dbeta : ndarray of shape (C,), or None
        Gradients of gamma and beta. C is the number of channels. dgamma is None if `batch_norm` got no gamma, and
        dbeta is None if it got no beta.
    dresidual : ndarray like x, or None
        Gradient of the residual, or None if `batch_norm` got no residual. Without a ReLU, the gradient of the residual
        is not a new array: it is the array dy that `batch_norm_backward` got.
    """

    dx: Array
    dgamma: Array | None
    dbeta: Array | None
    dresidual: Array | None


def batch_norm(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    training: bool = True,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    axis: int = 1,
    relu: bool = False,
    residual: Array | None = None,
    out: Array | None = None,
    *,
    num_batches: Array | None = None,
) -> tuple[Array, _core.BatchNormSaved]:
    r"""Normalise every channel, then scale and shift it, optionally with a residual and a ReLU, in one pass.

    ::

        y = act(gamma * (x - mean) / sqrt(var + eps) + beta + residual)

    act(z) is the ReLU max(0, z) if `relu` is True, else z. If `training` is True, mean and var are the mean and the
    variance of each channel in this batch. This var is the biased variance, with the divisor n, where n is the number
    of values per channel. Then running_mean and running_var are updated in place::

        running_mean = (1 - momentum) * running_mean + momentum * mean
        running_var  = (1 - momentum) * running_var  + momentum * var * n / (n - 1)

    The factor n / (n - 1) turns var into the unbiased variance, with the divisor n - 1.

    If `training` is False, mean is running_mean and var is running_var. `batch_norm_backward` then treats both as
    constants.

    Parameters
    ----------
    x : ndarray of shape (N, C) or (N, C, ...), or with the channels on another axis
        The input: float32, float64, float16 or the bfloat16 of ml_dtypes, C-contiguous. N is the batch size and C the
        number of channels. For a layout with the channels last, pass a C-contiguous (N, ..., C) array and ``axis=-1``.
    gamma, beta : ndarray of shape (C,), or None
        Scale and shift, in the dtype of x. If x has a 16-bit dtype, float32 is also allowed. None is a scale of 1 or a
        shift of 0.
    running_mean, running_var : ndarray of shape (C,), or None
        Running statistics. The same dtypes are allowed as for gamma. Pass both or none. If `training` is False, both
        are needed.
    training : bool
        True uses the mean and the variance of the batch, and updates the running statistics.
    momentum : float from 0 to 1, or None
        Weight of this batch in the running statistics. With None, the running statistics are the mean over all batches
        so far. Then the weight is 1 / (number of batches). To update the running statistics in this way, `num_batches`
        must be given.
    eps : float
        Added to the variance.
    axis : int
        The axis of the channels.
    relu : bool
        True applies a ReLU at the end. nan stays nan.
    residual : ndarray like x, or None
        Added before the ReLU.
    out : ndarray like x, or None
        The array for y. It may be x (in place) or residual, but must not overlap other arrays of the call. After a
        call with ``out=x``, `batch_norm_backward` raises an error, because it needs x.
    num_batches : int64 ndarray of one item, or None
        The number of batches in the running statistics. Each call in training adds 1.

    Returns
    -------
    y : ndarray like x
    saved : BatchNormSaved
        The second argument of `batch_norm_backward`. ``saved.mean`` is mean, and ``saved.invstd`` is
        1 / sqrt(var + eps). Both are float64 arrays of shape (C,). `saved` keeps a reference to x. Do not change x
        before the gradient is computed. You can change y. If there are a residual and a ReLU, `saved` also stores one
        bit per element of x.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, if x is empty, or if x has only one value per channel in training. If an
        error is raised, no array has changed.

    Notes
    -----
    Ioffe and Szegedy, "Batch normalization" (2015), algorithm 1. The statistics are computed from blocks of 1,024
    values per channel. The mean of the first 32 values of a block is subtracted from all values of the block. Then the
    values are added into 32 partial sums. The statistics of the blocks are merged in float64 (Chan, Golub and LeVeque,
    1979). So no digits cancel if the mean is much larger than the standard deviation. For float32 values with mean 1e4
    and standard deviation 1e-2, the error of y is 1e-6. For float64 values with mean m and standard deviation s, the
    error of y is about ``2e-16 * m / s``. For m / s = 1e8, this is 2e-8.

    The results have the same bits for any number of threads and any instruction set. They also have the same bits for
    all layouts of the same values: (N, C, H, W), (N, H, W, C) and (N * H * W, C). If x has 16 bits, everything is
    computed in float32, and y and the gradients are rounded once, to nearest even.

    The formulas are those of ``torch.nn.functional.batch_norm``, and ``momentum=None`` means the same as in
    ``torch.nn.BatchNorm2d``. torch is less precise if the mean is much larger than the standard deviation. Keras and
    Flax use the biased variance in running_var. Their momentum is 1 - `momentum`.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> y, saved = fs.batch_norm(x, eps=0.0)
    >>> y
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> saved.mean
    array([ 2., 20.])
    """
    call = "batch_norm"
    if training is not True and training is not False:
        training = flag(f"{call}: training", training)
    if relu is not True and relu is not False:
        relu = flag(f"{call}: relu", relu)
    if type(momentum) is not float and momentum is not None:
        momentum = up_to_one(f"{call}: momentum", momentum)
    if type(eps) is not float:
        eps = non_negative(f"{call}: eps", eps)
    if axis != 1 or type(axis) is not int:
        axis = axis_of(call, axis)
    return _core.batch_norm(
        x,
        gamma,
        beta,
        running_mean,
        running_var,
        training,
        momentum,
        eps,
        axis,
        relu,
        residual,
        out,
        num_batches,
    )


def batch_norm_backward(
    dy: Array, saved: _core.BatchNormSaved, out: Array | tuple[Array | None, Array | None] | None = None
) -> BatchNormGrads:
    r"""Return the gradients of `batch_norm`.

    ::

        dz     = 0 where the argument of the ReLU was at most 0, else dy        (without a ReLU: dz = dy)
        dbeta  = sum(dz)                    dgamma = sum(dz * xhat)             xhat = (x - mean) * invstd
        dx     = gamma * invstd * (dz - dbeta / n - xhat * dgamma / n)          (if `training` was True)
        dx     = gamma * invstd * dz                                            (if `training` was False)

    x, gamma, mean, var, eps, `training` and the ReLU are those of the call of `batch_norm`. invstd is
    1 / sqrt(var + eps). The sums are over the n values of a channel.

    Parameters
    ----------
    dy : ndarray like x
        Gradient of y, C-contiguous.
    saved : BatchNormSaved
        The second result of `batch_norm`. You can use it more than once.
    out : ndarray like x, (dx, dresidual), or None
        The array for dx. It may be dy (in place), with one exception. If `batch_norm` got a residual and applied no
        ReLU, `out` must share no memory with dy, because dy itself is returned as dresidual, the gradient of the
        residual. If `batch_norm` got a residual and applied a ReLU, `out` can be a pair of arrays, for dx and
        dresidual.

    Returns
    -------
    BatchNormGrads
        The fields are ``dx``, ``dgamma``, ``dbeta`` and ``dresidual``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or if `saved` is from a call of `batch_norm` with ``out=x``. If an error is
        raised, no array has changed.

    Notes
    -----
    Ioffe and Szegedy, "Batch normalization" (2015), section 3. The sums are computed in blocks as in `batch_norm`, with
    the same bits on every machine. As in torch, the gradient of the ReLU at 0 is 0.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> x = np.array([[1.0], [2.0], [3.0]])
    >>> y, saved = fs.batch_norm(x, np.ones(1), np.zeros(1))
    >>> grads = fs.batch_norm_backward(np.array([[1.0], [0.0], [0.0]]), saved)
    >>> grads.dbeta, bool(abs(grads.dx.sum()) < 1e-12)
    (array([1.]), True)
    """
    return BatchNormGrads(*_core.batch_norm_backward(dy, saved, out))
