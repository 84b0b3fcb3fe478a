"""The cases (each is a network and the part of its training step that is timed), and the targets for them."""

from __future__ import annotations

from dataclasses import dataclass

LR = 3e-4
CLIP_NORM = 0.5
# "step" times the whole training step. "optimizer" times optimizer.step() after a forward and a backward pass.
PARTS = ("step", "optimizer")


@dataclass(frozen=True)
class Network:
    """A network that is trained. `TASKS` in `bench.torch.networks` has its class under the same name."""

    name: str
    what: str
    has_layers: bool = False  # True if the network has dropout or batch norm
    has_relu: bool = False  # True if there is a variant in which batch norm applies the ReLU and adds the residual
    clipped: bool = False  # True if the norm of the gradients is clipped


NETWORKS = (
    Network("mlp", "a 17-64-64-6 tanh network, 64 random rows, squared error"),
    Network("ppo", "PPO with two 17-64-64 tanh networks, 64 random rows, clipped gradients", clipped=True),
    Network("cnn", "a ResNet of 7 convolutions with batch norm and dropout, 32 random images of 3x32x32", True, True),
    Network(
        "transformer", "a transformer of 2 layers of width 128, 16 random sequences of 64 tokens, dropout 0.1", True
    ),
)


@dataclass(frozen=True)
class Case:
    """A network and the part of its training step that is timed. Each case has a table of results."""

    network: Network
    part: str
    elements: int = 0  # number of all parameters; 0 before the network is built

    @property
    def name(self) -> str:
        return f"{self.network.name}/{self.part}"

    @property
    def quick(self) -> bool:
        return self.network.name in ("mlp", "cnn")

    def describe(self) -> str:
        part = "training step" if self.part == "step" else "Adam's step in the training loop"
        return f"{part} of {self.network.what}, float32"


CASES = tuple(Case(network, part) for network in NETWORKS for part in PARTS)


@dataclass(frozen=True)
class Target:
    """A target: fusedstep is at least `bound` times as fast as another implementation in the case `case`.

    The name of the other implementation begins with `peer`. If there are several such names, the fastest one is used.
    """

    case: str
    peer: str
    bound: float


TARGETS = (
    Target("mlp/step", "torch fused", 1.3),
    *(Target(case.name, "torch", 1.0) for case in CASES),
)
