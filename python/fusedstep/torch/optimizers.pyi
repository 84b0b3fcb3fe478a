"""Types of every optimizer for torch. Written by python/make_catalogue.py."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal
import torch
from ._base import FusedOptimizer

__all__ = [
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "NAG",
    "RMSprop",
    "SGD",
]

class Adadelta(FusedOptimizer, torch.optim.Adadelta):
    def __init__(
        self,
        params: Any,
        lr: float | torch.Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-06,
        weight_decay: float = 0,
        foreach: Any = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
        clip_norm: float | None = None,
        clip_value: Any = None,
        skip_nonfinite: bool = False,
        decay_scale: float = 1.0,
        ema_decay: float | None = None,
        zero_grads: bool = False,
        num_threads: int | None = None,
        l1: float | None = None,
        decay: Literal["l2", "decoupled", "proximal"] | None = None,
    ) -> None: ...

class Adagrad(FusedOptimizer, torch.optim.Adagrad):
    def __init__(
        self,
        params: Any,
        lr: float | torch.Tensor = 0.01,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: Any = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: Any = None,
        clip_norm: float | None = None,
        clip_value: Any = None,
        skip_nonfinite: bool = False,
        decay_scale: float = 1.0,
        ema_decay: float | None = None,
        zero_grads: bool = False,
        num_threads: int | None = None,
        eps_inside: bool | None = None,
        l1: float | None = None,
        decay: Literal["l2", "decoupled", "proximal"] | None = None,
    ) -> None: ...

class Adam(FusedOptimizer, torch.optim.Adam):
    def __init__(
        self,
        params: Any,
        lr: float | torch.Tensor = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: Any = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: Any = None,
        decoupled_weight_decay: bool = False,
        clip_norm: float | None = None,
        clip_value: Any = None,
        skip_nonfinite: bool = False,
        decay_scale: float = 1.0,
        ema_decay: float | None = None,
        zero_grads: bool = False,
        num_threads: int | None = None,
        eps_inside: bool | None = None,
        eps_hat: bool | None = None,
        l1: float | None = None,
        decay: Literal["l2", "decoupled", "proximal"] | None = None,
    ) -> None: ...

class AdamW(FusedOptimizer, torch.optim.AdamW):
    def __init__(
        self,
        params: Any,
        lr: float | torch.Tensor = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: Any = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: Any = None,
        clip_norm: float | None = None,
        clip_value: Any = None,
        skip_nonfinite: bool = False,
        decay_scale: float = 1.0,
        ema_decay: float | None = None,
        zero_grads: bool = False,
        num_threads: int | None = None,
        eps_inside: bool | None = None,
        eps_hat: bool | None = None,
        l1: float | None = None,
        decay: Literal["l2", "decoupled", "proximal"] | None = None,
    ) -> None: ...

class Adamax(FusedOptimizer, torch.optim.Adamax):
    def __init__(
        self,
        params: Any,
        lr: float | torch.Tensor = 0.002,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0,
        foreach: Any = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        clip_norm: float | None = None,
        clip_value: Any = None,
        skip_nonfinite: bool = False,
        decay_scale: float = 1.0,
        ema_decay: float | None = None,
        zero_grads: bool = False,
        num_threads: int | None = None,
        l1: float | None = None,
        decay: Literal["l2", "decoupled", "proximal"] | None = None,
    ) -> None: ...

class Lion(FusedOptimizer):
    def __init__(
        self,
        params: Any,
        lr: float | torch.Tensor = 0.0001,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        clip_norm: float | None = None,
        clip_value: Any = None,
        skip_nonfinite: bool = False,
        decay_scale: float = 1.0,
        ema_decay: float | None = None,
        zero_grads: bool = False,
        num_threads: int | None = None,
        l1: float | None = None,
        decay: Literal["l2", "decoupled", "proximal"] | None = None,
    ) -> None: ...

class NAG(FusedOptimizer):
    def __init__(
        self,
        params: Any,
        lr: float | torch.Tensor = 0.001,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        clip_norm: float | None = None,
        clip_value: Any = None,
        skip_nonfinite: bool = False,
        decay_scale: float = 1.0,
        ema_decay: float | None = None,
        zero_grads: bool = False,
        num_threads: int | None = None,
        l1: float | None = None,
        decay: Literal["l2", "decoupled", "proximal"] | None = None,
    ) -> None: ...
    @contextmanager
    def lookahead(self) -> Iterator[None]: ...

class RMSprop(FusedOptimizer, torch.optim.RMSprop):
    def __init__(
        self,
        params: Any,
        lr: float | torch.Tensor = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-08,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: Any = None,
        maximize: bool = False,
        differentiable: bool = False,
        *,
        clip_norm: float | None = None,
        clip_value: Any = None,
        skip_nonfinite: bool = False,
        decay_scale: float = 1.0,
        ema_decay: float | None = None,
        zero_grads: bool = False,
        num_threads: int | None = None,
        eps_inside: bool | None = None,
        l1: float | None = None,
        decay: Literal["l2", "decoupled", "proximal"] | None = None,
    ) -> None: ...

class SGD(FusedOptimizer, torch.optim.SGD):
    def __init__(
        self,
        params: Any,
        lr: float | torch.Tensor = 0.001,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: Any = None,
        differentiable: bool = False,
        fused: Any = None,
        clip_norm: float | None = None,
        clip_value: Any = None,
        skip_nonfinite: bool = False,
        decay_scale: float = 1.0,
        ema_decay: float | None = None,
        zero_grads: bool = False,
        num_threads: int | None = None,
        l1: float | None = None,
        decay: Literal["l2", "decoupled", "proximal"] | None = None,
    ) -> None: ...
