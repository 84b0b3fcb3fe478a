"""Batch normalisation, forward and backward."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import _core
from .._base.checks import axis_of, flag, non_negative, up_to_one

Array = np.ndarray[Any, Any]


class BatchNormGrads(NamedTuple):
    """Gradients of a batch normalisation.

    Attributes
    ----------
    dx : ndarray
        Gradient of the input, like x.
    dgamma, dbeta : ndarray of shape (C,), or None
        Gradients of the parameters; None if the forward call had none.
    dresidual : ndarray or None
        Gradient of the residual, like x. Without a ReLU it is the array dy itself; None without a residual.
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
    r"""Normalise every channel, then scale and shift it; optionally add a residual and apply a ReLU, in one pass.

    ::

        y = act(gamma * (x - mean) / sqrt(var + eps) + beta + residual)

    In training, mean and var are those of the batch. y uses the biased variance, divided by the number n of values per
    channel. The running statistics are updated in place. Their variance takes the unbiased one, divided by n - 1::

        running = (1 - momentum) * running + momentum * batch

    Otherwise mean and var are the running statistics, and the gradient takes them as constants.

    Parameters
    ----------
    x : ndarray of shape (N, C), (N, C, ...) or any other with at least 2 axes
        Of float32, float64, float16 or bfloat16, C-contiguous. Channels last is a C-contiguous (N, ..., C) array and
        ``axis=-1``.
    gamma, beta : ndarray of shape (C,), or None
        Scale and shift, of x's type, or of float32 for x of 16 bits. None is a scale of 1 or a shift of 0.
    running_mean, running_var : ndarray of shape (C,), or None
        Running statistics, of the same types. Give both or none; if `training` is False, give both.
    training : bool
        Use (and record) the statistics of the batch.
    momentum : float from 0 to 1, or None
        Weight of this batch in the running statistics. None is the cumulative average, with weight 1 / (number of
        batches), which `num_batches` counts.
    eps : float
        Added to the variance.
    axis : int
        The axis of the channels.
    relu : bool
        Apply max(0, .) last. nan stays nan.
    residual : ndarray like x, or None
        Added before the ReLU.
    out : ndarray like x, or None
        y is written here. It may be x (in place) or residual, but must not overlap other arrays of the call. After a
        call with ``out=x``, `batch_norm_backward` raises, because it needs x.
    num_batches : int64 ndarray of one item, or None
        Counts the batches that the running statistics have seen: each call in training adds 1.

    Returns
    -------
    y : ndarray like x
    saved : BatchNormSaved
        For `batch_norm_backward`. ``saved.mean`` and ``saved.invstd`` = 1 / sqrt(var + eps) are float64, per channel.
        It keeps x, which must not be changed before the gradient is computed. With both a residual and a ReLU it also
        keeps one bit per element. y may be changed.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or x is empty or has one value per channel in training. Then nothing is
        written.

    Notes
    -----
    Ioffe and Szegedy, "Batch normalization" (2015), algorithm 1. For the statistics, the values of each block of
    1,024 are shifted by the mean of 32 of them and summed in 32 lanes; the blocks are merged in double (Chan, Golub and
    LeVeque, 1979). So digits do not cancel if the mean is large: for float32 values of mean 1e4 and deviation 1e-2 the
    error is 1e-6, and for float64 it is about 2e-16 mean / deviation, which is 2e-8 at 1e8. The results have the
    same bits for any number of threads, any instruction set and any layout of the same values: (N, C, H, W),
    (N, H, W, C) and (N * H * W, C). For a 16-bit x (bfloat16 is that of ml_dtypes) all is computed in
    float32, with the residual and the ReLU. y and the gradients are rounded once, to nearest even.

    Same as ``torch.nn.functional.batch_norm``; `momentum` None is as in ``torch.nn.BatchNorm2d``. torch is less precise
    if the mean is large. Keras and Flax define momentum the other way round (their 0.9 is 0.1 here) and keep the biased
    variance.

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
    r"""Gradients of `batch_norm`.

    ::

        dz     = dy where the ReLU passed its argument, else 0
        dbeta  = sum(dz)                    dgamma = sum(dz * xhat)             xhat = (x - mean) * invstd
        dx     = gamma * invstd * (dz - dbeta / n - xhat * dgamma / n)          (batch statistics)
        dx     = gamma * invstd * dz                                            (running statistics)

    Parameters
    ----------
    dy : ndarray like x
        Gradient of y, C-contiguous.
    saved : BatchNormSaved
        The second result of `batch_norm`. It may be used more than once.
    out : ndarray like x, (dx, dresidual), or None
        dx is written here. With a residual and a ReLU, the second array of a pair takes dresidual. dx may be dy (in
        place), except with a residual and no ReLU, because dy is then dresidual.

    Returns
    -------
    BatchNormGrads
        ``.dx .dgamma .dbeta .dresidual``

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or x was overwritten by the forward pass. Then nothing is written.

    Notes
    -----
    Ioffe and Szegedy, "Batch normalization" (2015), section 3. Sums are computed as in `batch_norm`, with the same
    bits on every machine. As in torch, the gradient of the ReLU at 0 is 0.

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
