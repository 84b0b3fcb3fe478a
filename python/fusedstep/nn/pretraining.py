"""Layer-wise pre-training: before a network is trained, each hidden layer learns to encode its inputs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .._base.arrays import Array, describe, is_base_ndarray
from .._base.checks import check_width, non_negative, whole_number
from ..ops.noise import gaussian_noise
from ..ops.philox import Philox
from ..optim import Optimizer, registry
from ._layer import Layer
from ._stack import make, recipe
from .activations import Sigmoid
from .blocks import hidden_block
from .linear import Linear
from .losses import MeanSquaredError
from .penalties import ActivityPenalty
from .sequential import Sequential
from .training import Batch, Batches, Trainer


class PretrainedLayer(NamedTuple):
    """One layer of a stack of auto-encoders.

    Attributes
    ----------
    weight, bias : ndarray, shapes (in, out) and (out,)
        Weight and bias of the encoder. Use them as initial values of a `Linear` in the network that you train next.
    candidate : int
        Index into the argument ``candidates`` of `pretrain`: this layer was trained with ``candidates[candidate]``.
    autoencoder : Sequential
        The encoder and then the decoder of this layer, as one network.
    """

    weight: Array
    bias: Array
    candidate: int
    autoencoder: Sequential


class PretrainedStack(NamedTuple):
    """Auto-encoders that were trained one after the other, one per hidden layer.

    Attributes
    ----------
    layers : tuple of PretrainedLayer
        One per hidden layer. The first one encodes the training rows ``x`` of `pretrain`.
    error : float
        Mean squared error between ``x`` and its reconstruction. For the reconstruction, the outputs of the last encoder
        pass through all decoders, from the last to the first.
    """

    layers: tuple[PretrainedLayer, ...]
    error: float


@dataclass(frozen=True)
class _Candidate:
    """The settings of one auto-encoder's training."""

    epochs: int = 20
    batch_size: int = 32
    lr: float = 3e-3
    optimizer: Callable[..., Optimizer] = registry["Adam"]
    noise: float = 0.0
    penalty: ActivityPenalty | None = None

    def __post_init__(self) -> None:
        whole_number("pretrain: epochs", self.epochs, 2**63)
        check_width("pretrain", "batch_size", self.batch_size)
        non_negative("pretrain: noise", self.noise)
        if not isinstance(self.penalty, ActivityPenalty | None):
            raise TypeError(f"pretrain: penalty must be an ActivityPenalty or None; got {self.penalty!r}")


def pretrain(
    x: Array,
    widths: Sequence[int],
    activation: type[Layer] | None = Sigmoid,
    *,
    candidates: Sequence[Mapping[str, Any]] = ({},),
    keep: int = 1,
    seed: int = 0,
    **settings: Any,
) -> list[PretrainedStack]:
    r"""Train stacks of auto-encoders layer by layer. Keep only the best stacks after each layer.

    A stack has one auto-encoder per hidden layer. The auto-encoder of layer l has an encoder, with weight W_l and bias
    b_l, and a decoder, with weight V_l and bias c_l::

        h_0 = x,    h_l = act(h_{l-1} W_l + b_l),    r_l = decoder_l(h_l) = h_l V_l + c_l
        layer l minimises  mean((h_{l-1} - r_l)^2) + weighted penalty of h_l
        error of a stack   mean((x - r)^2),  r = decoder_1(... decoder_{l-1}(decoder_l(h_l)))

    Without the setting ``penalty``, the penalty is 0. With the setting ``noise``, random noise is added to the
    encoder's input, but only while layer l is trained. The decoder must reconstruct h_{l-1} without the noise.

    A candidate is a set of settings for the training of one layer. On top of each kept stack, one new layer is trained
    with each candidate. Of all these new stacks, the ``keep`` stacks with the smallest errors are kept.

    Parameters
    ----------
    x : ndarray, shape (n, width)
        The training rows: float32 or float64, not empty. The array is not written to.
    widths : sequence of int
        Widths of the hidden layers. The first is next to the input.
    activation : type of Layer, optional
        Class of the activation of every encoder. None: no activation.
    candidates : sequence of mappings
        The candidates, as dicts of settings. All are tried at each layer. A setting in a candidate replaces the setting
        of the same name in ``**settings``. Equal candidates are trained with different random numbers.
    keep : int
        Number of stacks that are kept after each layer, >= 1.
    seed : int
        The same seed gives the same results, bit for bit.
    **settings
        Settings of all candidates, with defaults in parentheses: ``epochs`` (20), ``batch_size`` (32), ``lr`` (3e-3),
        ``optimizer`` (`fusedstep.Adam`), ``noise`` (0) and ``penalty`` (None). ``noise`` is the standard deviation of
        the Gaussian noise at the encoder's input, for a denoising auto-encoder. ``penalty`` is an `ActivityPenalty` on
        the encoder's outputs, for a sparse auto-encoder.

    Returns
    -------
    list of PretrainedStack
        Up to ``keep`` stacks, the best first.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Sources: Bengio, Lamblin, Popovici, Larochelle (2007); for the noise, Vincent et al. (2008); for several candidates
    per layer, Bengio (2012), section 3.3.4, "greedy layer-wise hyper-parameter optimization".

    Examples
    --------
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> x = np.random.default_rng(0).random((64, 1)) * np.ones(8)
    >>> best, second = nn.pretrain(x, [4, 2], nn.Tanh, candidates=[{"lr": 0.01}, {"lr": 1e-4}], keep=2, epochs=50)
    >>> [layer.weight.shape for layer in best.layers], bool(best.error < x.var()), best.error < second.error
    ([(8, 4), (4, 2)], True, True)
    """
    if not is_base_ndarray(x) or x.dtype.char not in "fd" or x.ndim != 2 or not x.size:
        raise ValueError(
            f"pretrain: x must be float32 or float64 of shape (n, width) with n, width >= 1; got {describe(x)}"
        )
    tried, keep = [_candidate({**settings, **own}) for own in candidates], check_width("pretrain", "keep", keep)
    if not tried:
        raise ValueError("pretrain: candidates must hold at least one dict of settings; got none")
    rng = np.random.default_rng(seed)
    best = [PretrainedStack((), math.nan)]
    for width in widths:
        grown = []
        for stack in best:
            h = _encode(stack.layers, x)
            for number, candidate in enumerate(tried):
                layer = _train(h, width, activation, candidate, number, rng)
                layers = (*stack.layers, layer)
                grown.append(PretrainedStack(layers, _error(layers, x)))
        best = sorted(grown, key=lambda stack: stack.error)[:keep]
    return best


def _candidate(settings: Mapping[str, Any]) -> _Candidate:
    known = _Candidate.__dataclass_fields__
    for name in settings:
        if name not in known:
            raise TypeError(f"pretrain: a setting must be one of {', '.join(known)}; got {name!r}")
    return _Candidate(**settings)


def _train(
    h: Array, width: int, activation: type[Layer] | None, how: _Candidate, number: int, rng: np.random.Generator
) -> PretrainedLayer:
    penalty = None if how.penalty is None else make(recipe(how.penalty))
    encoder = hidden_block(h.shape[1], width, activation, penalty=penalty)
    model = Sequential(*encoder, Linear(width, h.shape[1]), dtype=h.dtype, rng=rng)
    trainer = Trainer(model, MeanSquaredError(), how.optimizer(model.params, lr=how.lr))
    batches, draws = Batches(h, h, size=how.batch_size), Philox(int(rng.integers(2**63)))

    def noisy(batch: Batch) -> Batch:
        return batch._replace(x=gaussian_noise(batch.x, how.noise, draws.key())) if how.noise else batch

    # A loss that is not finite ends the training. The stack's error is then usually infinite: other stacks are kept.
    deque(trainer.fit(batches, how.epochs, order=lambda: rng.permutation(len(h)), change=partial(map, noisy)), maxlen=0)
    first = model.layers[0].params
    return PretrainedLayer(first["weight"].copy(), first["bias"].copy(), number, model)


def _encode(layers: Sequence[PretrainedLayer], x: Array) -> Array:
    for layer in layers:
        h = x
        for part in layer.autoencoder.layers[:-1]:
            h = part.forward(h, False)
        x = h.copy()
    return x


def _error(layers: Sequence[PretrainedLayer], x: Array) -> float:
    """Return the mean squared error of the reconstructed x, or infinity if this error is nan or infinite."""
    r = _encode(layers, x)
    for layer in reversed(layers):
        r = layer.autoencoder.layers[-1].forward(r, False).copy()
    error = float(np.mean((x - r) ** 2, dtype=np.float64))
    return error if math.isfinite(error) else math.inf
