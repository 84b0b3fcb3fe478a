"""The shapes of the parameters of two models, ResNet-18 and GPT-2."""

from __future__ import annotations

Shapes = tuple[tuple[int, ...], ...]


def conv_and_norm(channels_in: int, channels: int, kernel: int) -> Shapes:
    return (channels, channels_in, kernel, kernel), (channels,), (channels,)


def resnet18() -> Shapes:
    """Return the shapes of ResNet-18 of He et al. (2015), as in torchvision: 62 tensors, 11,689,512 parameters."""
    shapes = [*conv_and_norm(3, 64, 7)]
    width = 64
    for channels in (64, 128, 256, 512):
        for block in range(2):
            shapes += [*conv_and_norm(width, channels, 3), *conv_and_norm(channels, channels, 3)]
            if block == 0 and width != channels:
                shapes += conv_and_norm(width, channels, 1)
            width = channels
    return (*shapes, (1000, 512), (1000,))


def gpt2() -> Shapes:
    """Return the shapes of the smallest GPT-2 of Radford et al. (2019): 148 tensors, 124,439,808 parameters.

    The output layer uses the weights of the embedding.
    """
    d, vocabulary, context, layers = 768, 50_257, 1024, 12
    norm: Shapes = ((d,), (d,))
    attention: Shapes = ((d, 3 * d), (3 * d,), (d, d), (d,))
    perceptron: Shapes = ((d, 4 * d), (4 * d,), (4 * d, d), (d,))
    block = (*norm, *attention, *norm, *perceptron)
    return ((vocabulary, d), (context, d), *(block * layers), *norm)
