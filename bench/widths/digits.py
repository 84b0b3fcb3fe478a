"""Train a small network on scikit-learn's digits with the NumPy API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import fusedstep as fs
from fusedstep import nn
from fusedstep._base import formats
from fusedstep._bench.common import Array
from fusedstep._bench.training.data import digits

from .variants import REFERENCE, Variant


@dataclass(frozen=True)
class Setting:
    """The sizes of the network and the settings of a training."""

    hidden: int = 32  # width of the two hidden layers
    rows: int = 1200  # training rows
    batch: int = 32
    epochs: int = 100
    last: int = 10  # number of epochs at the end whose losses are averaged
    noise: float = 0.5  # standard deviation of the noise that is added to the pixels; pixels are in [0, 1]
    smoothing: float = 0.1  # label smoothing
    lr: float = 3e-3
    least_lr: float = 0.01  # learning rate at the end of the training / lr
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01

    @property
    def steps(self) -> int:
        """Return the number of steps of a training."""
        return self.epochs * -(-self.rows // self.batch)


def network(s: Setting, seed: int) -> nn.Sequential:
    """Return a new network."""
    return nn.Sequential(
        nn.Linear(64, s.hidden), nn.ReLU(), nn.Linear(s.hidden, s.hidden), nn.ReLU(), nn.Linear(s.hidden, 10), rng=seed
    )


class Weights:
    """The parameters of a network in their stored format, and their optimizer. The network computes in float32."""

    def __init__(self, model: nn.Sequential, variant: Variant, s: Setting, seed: int) -> None:
        import ml_dtypes

        self.model, self.dtype = model, np.dtype(ml_dtypes.bfloat16) if variant.bfloat16 else np.dtype(np.float32)
        self.stored: Any = {k: p.astype(self.dtype) for k, p in model.params.items()} if variant.bfloat16 else None
        rate = fs.schedules.cosine(s.lr, total_steps=s.steps, min_lr=s.least_lr * s.lr)
        options: dict[str, Any] = {"betas": s.betas, "weight_decay": s.weight_decay, "seed": seed, **variant.options}
        self.optimizer = fs.AdamW(self.stored or model.params, lr=rate, **options)
        self._widen()

    def _widen(self) -> None:
        for k, p in (self.stored or {}).items():
            self.model.params[k][...] = p

    def step(self) -> None:
        """Step with the gradients of the model's last backward pass, converted to the dtype of the parameters."""
        grads = self.model.grads
        self.optimizer.step({k: g.astype(self.dtype) for k, g in grads.items()} if self.stored else grads)
        self._widen()


def learn(variant: Variant, seed: int, s: Setting) -> dict[str, float]:
    """Train a new network. Return its mean losses in the last epochs, on the training rows and on held-out rows."""
    model = network(s, seed)
    return train(model, Weights(model, variant, s, seed), seed, s)


def states_after(variant: Variant, seed: int, s: Setting) -> list[tuple[Array, Array]]:
    """Return the first and second moments of each tensor after a training, as flat float32 arrays."""
    model = network(s, seed)
    weights = Weights(model, variant, s, seed)
    train(model, weights, seed, s)
    states = weights.optimizer.state.values()
    return [(decoded(state, "exp_avg", False), decoded(state, "exp_avg_sq", True)) for state in states]


def decoded(state: Any, name: str, positive: bool) -> Array:
    """Return the state `name` as a flat float32 array. `positive` is True if the state is never negative."""
    flat = state[name].reshape(-1)
    if flat.dtype == np.uint8:
        return formats.decode_u8(flat, state[name + "_scale"], positive)
    return np.asarray(flat, np.float32)


def size_of_v(variant: Variant, seed: int, s: Setting) -> float:
    """Return how large the second moments of a variant are, compared with float32.

    Let v be the second moment of an element after a training with the variant, and w after a training in float32. The
    result is the median of sqrt(v / w) over the elements.
    """
    got, exact = (np.concatenate([v for _, v in states_after(of, seed, s)]) for of in (variant, REFERENCE))
    seen = exact > 1e-24  # leaves out weights whose gradient is always 0, because a ReLU is always 0
    return float(np.median(np.sqrt(got[seen] / exact[seen])))


def train(model: nn.Sequential, weights: Any, seed: int, s: Setting) -> dict[str, float]:
    """Train a model, with ``weights.step()`` as the optimizer's step.

    Return the mean losses in the last epochs, on the training rows and on held-out rows.
    """
    rng, loss = np.random.default_rng(1000 + seed), nn.SoftmaxNLL()
    x, y = digits()
    y = smoothed(y, s.smoothing)
    order = np.random.default_rng(seed).permutation(len(x))
    held_out, rows = order[s.rows :], order[: s.rows]
    batches, losses, tests = nn.Batches(x[rows], y[rows], size=s.batch), [], []
    for epoch in range(s.epochs):
        for batch in batches.epoch(rng.permutation(s.rows)):
            outputs = model.forward(noisy(batch.x, s.noise, rng), training=True)
            value, dy = loss.value_and_gradient(outputs, batch.targets)
            model.backward(dy)
            weights.step()
            losses.append(value)
        if epoch >= s.epochs - s.last:
            tests.append(loss(model.predict(noisy(x[held_out], s.noise, rng)), y[held_out]))
    return {"train": float(np.mean(losses[-len(batches) * s.last :])), "held_out": float(np.mean(tests))}


def noisy(x: Array, scale: float, rng: np.random.Generator) -> Array:
    """Return x plus normal noise with the standard deviation `scale`."""
    return x + np.float32(scale) * rng.standard_normal(x.shape, dtype=np.float32)


def smoothed(y: Array, share: float) -> Array:
    """Return smoothed targets: (1 - share) for the right class, plus share / 10 for every class."""
    return (1 - share) * np.eye(10, dtype=np.float32)[y] + np.float32(share / 10)
