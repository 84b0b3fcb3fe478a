"""Every activation of this folder. python/make_catalogue.py writes this file."""

from .hard_tanh import HardTanh
from .relu import ReLU
from .sigmoid import Sigmoid
from .tanh import Tanh

__all__ = [
    "HardTanh",
    "ReLU",
    "Sigmoid",
    "Tanh",
]
