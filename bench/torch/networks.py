"""The networks with their batches of random numbers and their losses. This module needs torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

BATCHES = 16  # number of different batches; the training uses them in turn


class Task:
    """A network that is trained, with its batches and its loss."""

    model: nn.Module
    batches: list[tuple[Tensor, ...]]

    def __init__(self, layers: Any, p: float, relu: bool) -> None:
        """Build the network with the same weights every time.

        Dropout and batch norm are from the module `layers` (`torch.nn` or `fusedstep.torch`). `p` is the probability of
        dropout. If `relu` is True, batch norm applies the ReLUs and adds the residuals.
        """
        torch.manual_seed(0)
        self.model = self.build(layers, p, relu)
        generator = torch.Generator().manual_seed(1)
        self.batches = [self.batch(generator) for _ in range(BATCHES)]

    def build(self, layers: Any, p: float, relu: bool) -> nn.Module:
        raise NotImplementedError

    def batch(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def loss(self, *batch: Tensor) -> Tensor:
        raise NotImplementedError


def tanh_network(outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(17, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))


class MLP(Task):
    def build(self, layers: Any, p: float, relu: bool) -> nn.Module:
        return tanh_network(6)

    def batch(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        return torch.randn(64, 17, generator=generator), torch.randn(64, 6, generator=generator)

    def loss(self, *batch: Tensor) -> Tensor:
        x, y = batch
        return functional.mse_loss(self.model(x), y)


class PPO(Task):
    """The loss of Schulman et al. (2017): a clipped surrogate for a Gaussian policy, and the value's squared error."""

    def build(self, layers: Any, p: float, relu: bool) -> nn.Module:
        model = nn.ModuleDict({"policy": tanh_network(6), "value": tanh_network(1)})
        model.register_parameter("log_std", nn.Parameter(torch.zeros(6)))
        return model

    def batch(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        actions = draw(64, 6)
        return draw(64, 17), actions, -0.5 * actions.square().sum(1), draw(64), draw(64)

    def loss(self, *batch: Tensor) -> Tensor:
        x, actions, old, advantage, returns = batch
        model: Any = self.model
        z = (actions - model["policy"](x)) * torch.exp(-model.log_std)
        ratio = torch.exp((-0.5 * z.square() - model.log_std).sum(1) - old)
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
        return 0.5 * functional.mse_loss(model["value"](x).squeeze(1), returns) - surrogate


def convolution(inputs: int, outputs: int, stride: int = 1, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


class Block(nn.Module):
    """The residual block of He et al. (2016), as in torchvision, with dropout between the convolutions.

    The dropout is from Zagoruyko and Komodakis (2016).
    """

    def __init__(self, layers: Any, inputs: int, outputs: int, stride: int, p: float) -> None:
        super().__init__()
        self.first, self.second = convolution(inputs, outputs, stride), convolution(outputs, outputs)
        self.bn1, self.bn2 = layers.BatchNorm2d(outputs), layers.BatchNorm2d(outputs)
        self.relu, self.dropout = nn.ReLU(inplace=True), layers.Dropout(p)
        self.shortcut = nn.Identity() if stride == 1 else convolution(inputs, outputs, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.dropout(self.relu(self.bn1(self.first(x)))))
        result: Tensor = self.relu(self.bn2(y) + self.shortcut(x))
        return result


class FusedBlock(Block):
    """The same block as `Block`, but batch norm adds the residual and applies the ReLU."""

    def __init__(self, layers: Any, inputs: int, outputs: int, stride: int, p: float) -> None:
        super().__init__(layers, inputs, outputs, stride, p)
        self.bn1.relu = self.bn2.relu = True

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.bn2(self.second(self.dropout(self.bn1(self.first(x)))), self.shortcut(x))
        return result


class CNN(Task):
    def build(self, layers: Any, p: float, relu: bool) -> nn.Module:
        block = FusedBlock if relu else Block
        stem = [layers.BatchNorm2d(16, relu=True)] if relu else [layers.BatchNorm2d(16), nn.ReLU(inplace=True)]
        widths = ((16, 16, 1), (16, 32, 2), (32, 64, 2))
        blocks = [block(layers, inputs, outputs, stride, p) for inputs, outputs, stride in widths]
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), layers.Dropout(p), nn.Linear(64, 10)]
        return nn.Sequential(convolution(3, 16), *stem, *blocks, *head)

    def batch(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        return torch.randn(32, 3, 32, 32, generator=generator), torch.randint(10, (32,), generator=generator)

    def loss(self, *batch: Tensor) -> Tensor:
        x, y = batch
        return functional.cross_entropy(self.model(x), y)


class Transformer(Task):
    WORDS, WIDTH, LENGTH = 1000, 128, 64

    def build(self, layers: Any, p: float, relu: bool) -> nn.Module:
        layer = nn.TransformerEncoderLayer(self.WIDTH, 4, 256, p, batch_first=True, norm_first=True)
        body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        if layers is not nn:
            layers.accelerate(body)
        return nn.Sequential(nn.Embedding(self.WORDS, self.WIDTH), body, nn.Linear(self.WIDTH, self.WORDS))

    def batch(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        words = torch.randint(self.WORDS, (16, self.LENGTH + 1), generator=generator)
        return words[:, :-1].contiguous(), words[:, 1:].contiguous()

    def loss(self, *batch: Tensor) -> Tensor:
        x, y = batch
        return functional.cross_entropy(self.model(x).flatten(0, 1), y.flatten())


TASKS: dict[str, type[Task]] = {"mlp": MLP, "ppo": PPO, "cnn": CNN, "transformer": Transformer}
