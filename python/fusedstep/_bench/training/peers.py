"""The trainers. Each trainer has the training loop that the users of its library write.

All trainers start from the same weights and use the same batches in the same order. Before each pass over the batches,
the initial weights are restored, which is not timed. Otherwise, the network would soon be fully trained, and the
gradients would be nearly zero.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import fusedstep as fs
from fusedstep import nn

from .. import common
from ..common import Array
from .cases import CLASSES, LR
from .data import Job
from .reference import NumPyTraining


class Trainer:
    """Base class of the implementations. `run(k)` trains on the first k batches."""

    def __init__(self, job: Job) -> None:
        self.job, (self.x, self.y) = job, job.rows
        self.prepare()

    def prepare(self) -> None:
        raise NotImplementedError

    def run(self, steps: int) -> None:
        raise NotImplementedError

    def params(self) -> list[Array]:
        """Return the weights of shape (in, out) and the biases, alternating."""
        raise NotImplementedError

    def step(self) -> None:
        self.run(len(self.job.batches))

    def refill(self) -> None:
        """Restore the initial weights."""
        for p, start in zip(self.params(), self.job.start, strict=True):
            p[...] = start

    def enter(self) -> None:
        """Set the number of threads before passes of this trainer are timed. This call is not timed."""


class Ours(Trainer):
    def prepare(self) -> None:
        widths = self.job.case.widths
        layers: list[nn.Layer] = []
        for i in range(len(widths) - 1):
            layers += [nn.Linear(widths[i], widths[i + 1]), nn.ReLU()]
        self.model, self.loss = nn.Sequential(*layers[:-1], rng=0), nn.SoftmaxNLL()
        self.refill()
        self.opt = fs.Adam(self.model.params, lr=LR)

    def run(self, steps: int) -> None:
        x, y, model, loss, opt = self.x, self.y, self.model, self.loss, self.opt
        for batch in self.job.batches[:steps]:
            _, dy = loss.value_and_gradient(model.forward(x[batch], training=True), y[batch])
            model.backward(dy)
            opt.step(model.grads)

    def params(self) -> list[Array]:
        return list(self.model.params.values())

    def enter(self) -> None:
        fs.set_num_threads(self.job.threads)


class Torch(Trainer):
    def __init__(self, job: Job, **form: bool) -> None:
        self.torch: Any = importlib.import_module("torch")
        self.torch.set_num_threads(job.threads)
        self.form = form
        super().__init__(job)

    def prepare(self) -> None:
        torch, widths = self.torch, self.job.case.widths
        layers: list[Any] = []
        for i in range(len(widths) - 1):
            layers += [torch.nn.Linear(widths[i], widths[i + 1]), torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*layers[:-1])
        self.x, self.y = torch.from_numpy(self.x), torch.from_numpy(self.y)
        self.refill()
        self.opt = torch.optim.Adam(self.model.parameters(), lr=LR, **self.form)

    def run(self, steps: int) -> None:
        x, y, model, opt = self.x, self.y, self.model, self.opt
        cross_entropy = self.torch.nn.functional.cross_entropy
        for batch in self.job.batches[:steps]:
            opt.zero_grad()
            cross_entropy(model(x[batch]), y[batch]).backward()
            opt.step()

    def params(self) -> list[Array]:
        return [p.detach().numpy().T for p in self.model.parameters()]

    def enter(self) -> None:
        self.torch.set_num_threads(self.job.threads)


class Jax(Trainer):
    """One compiled function. The old parameters and states are donated: JAX may write into their memory."""

    values: list[Any]
    state: Any

    def prepare(self) -> None:
        self.jax: Any = importlib.import_module("jax")
        self.np: Any = importlib.import_module("jax.numpy")
        optax: Any = importlib.import_module("optax")
        adam = optax.adam(LR)

        def loss(p: Any, x: Any, y: Any) -> Any:
            for i in range(0, len(p), 2):
                x = x @ p[i] + p[i + 1]
                x = self.jax.nn.relu(x) if i + 2 < len(p) else x
            return optax.softmax_cross_entropy_with_integer_labels(x, y).mean()

        def train(p: Any, state: Any, x: Any, y: Any) -> Any:
            updates, state = adam.update(self.jax.grad(loss)(p, x, y), state)
            return optax.apply_updates(p, updates), state

        self.train = self.jax.jit(train, donate_argnums=(0, 1))
        self.parts = [(self.np.array(self.x[b]), self.np.array(self.y[b])) for b in self.job.batches]
        self.refill()
        self.state = adam.init(self.values)

    def run(self, steps: int) -> None:
        for x, y in self.parts[:steps]:
            self.values, self.state = self.train(self.values, self.state, x, y)
        self.values[0].block_until_ready()

    def params(self) -> list[Array]:
        return [np.asarray(p) for p in self.values]

    def refill(self) -> None:
        self.values = [self.np.array(p, copy=True) for p in self.job.start]


class ScikitLearn(Trainer):
    """scikit-learn's MLPClassifier. One call of `partial_fit` trains on all batches of a pass."""

    def prepare(self) -> None:
        neural: Any = importlib.import_module("sklearn.neural_network")
        case = self.job.case
        options: dict[str, Any] = {"solver": "adam", "alpha": 0.0, "learning_rate_init": LR, "shuffle": False}
        # scikit-learn adds epsilon to sqrt(v), and torch to sqrt(v) / sqrt(1 - 0.999**t). This divisor is about 0.04 in
        # the first three steps, which are checked. There, 4e-10 acts like torch's 1e-8.
        self.model = neural.MLPClassifier(case.hidden, batch_size=case.batch, epsilon=4e-10, **options)
        self.classes = np.arange(CLASSES)
        self.run(1)  # creates the weights
        self.refill()
        del self.model._optimizer  # so that the next call makes a new one

    def run(self, steps: int) -> None:
        rows = slice(0, steps * self.job.case.batch)
        self.model.partial_fit(self.x[rows], self.y[rows], classes=self.classes)

    def params(self) -> list[Array]:
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return [array for pair in pairs for array in pair]


class NumPy(Trainer):
    def prepare(self) -> None:
        self.network = NumPyTraining(self.job)

    def run(self, steps: int) -> None:
        for batch in self.job.batches[:steps]:
            self.network.train(self.x[batch], self.y[batch])

    def params(self) -> list[Array]:
        return self.network.p


@dataclass(frozen=True)
class Peer:
    """An implementation that is timed."""

    name: str
    build: Callable[[Job], Trainer]
    needs: tuple[str, ...] = ()
    note: str = ""

    def missing(self) -> list[str]:
        return common.missing(self.needs)


OURS, YARDSTICK = "fusedstep", "numpy"
PEERS = (
    Peer(OURS, Ours, note="nn.Sequential, SoftmaxNLL and Adam"),
    Peer("torch fused", partial(Torch, fused=True), ("torch",)),
    Peer("torch foreach", partial(Torch, foreach=True), ("torch",)),
    Peer("torch default", Torch, ("torch",)),
    Peer("jax+optax", Jax, ("jax", "optax"), note="one compiled function; the batches are already JAX arrays"),
    Peer("scikit-learn", ScikitLearn, ("sklearn",), note="MLPClassifier.partial_fit on all batches of a pass"),
    Peer(YARDSTICK, NumPy, note="the yardstick: the same formulas in NumPy"),
)
