"""Types of every optimizer of this folder. python/make_catalogue.py writes this file."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal
from ._directions import Directed
from ._optimizer import Optimizer, Rate
from ._params import Array
from ._schedule_free import ScheduleFree

__all__ = [
    "ASGD",
    "AdEMAMix",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "AdamWScheduleFree",
    "Adamax",
    "LAMB",
    "LARS",
    "Lion",
    "Muon",
    "NAG",
    "NAdam",
    "RAdam",
    "RMSprop",
    "RowwiseAdagrad",
    "Rprop",
    "SGD",
    "SGDScheduleFree",
    "SparseAdam",
]

class ASGD(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: Rate = 0.01,
        lambd: float = 0.0001,
        alpha: float = 0.75,
        t0: float = 1000000.0,
        weight_decay: float = 0.0,
        *,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'l2',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class AdEMAMix(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: Rate = 0.001,
        betas: tuple[float, float, float] = (0.9, 0.999, 0.9999),
        alpha: float = 2.0,
        beta3_warmup: float = 0.0,
        alpha_warmup: float = 0.0,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        *,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'decoupled',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class Adadelta(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: Rate = 1.0,
        rho: float = 0.9,
        eps: float = 1e-06,
        weight_decay: float = 0.0,
        *,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'l2',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class Adafactor(Directed):
    def __init__(
        self,
        params: Any,
        lr: Rate = 0.01,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 0.001),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'decoupled',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class Adagrad(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: Rate = 0.01,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        eps_inside: bool = False,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'l2',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class Adam(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: Rate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        eps_inside: bool = False,
        eps_hat: bool = False,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'l2',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class AdamW(Adam):
    def __init__(
        self,
        params: Any,
        lr: Rate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        *,
        eps_inside: bool = False,
        eps_hat: bool = False,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'decoupled',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...

class AdamWScheduleFree(ScheduleFree):
    def __init__(
        self,
        params: Any,
        lr: Rate = 0.0025,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        warmup_steps: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        *,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'decoupled',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class Adamax(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: Rate = 0.002,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        *,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'l2',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class LAMB(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: Rate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-06,
        weight_decay: float = 0.01,
        *,
        adapt: bool = True,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'decoupled',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class LARS(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: Rate = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        *,
        adapt: bool = True,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'decoupled',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class Lion(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: Rate = 0.0001,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'decoupled',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class Muon(Directed):
    def __init__(
        self,
        params: Any,
        lr: Rate = 0.001,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-07,
        ns_steps: int = 5,
        adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = None,
        *,
        adamw: bool = False,
        betas: tuple[float, float] = (0.9, 0.999),
        adamw_eps: float = 1e-08,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'decoupled',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class NAG(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: Rate = 0.001,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        *,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'l2',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @contextmanager
    def lookahead(self) -> Iterator[None]:
        ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class NAdam(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: Rate = 0.002,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        momentum_decay: float = 0.004,
        *,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'l2',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class RAdam(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: Rate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        *,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'l2',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class RMSprop(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: Rate = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        eps_inside: bool = False,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'l2',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class RowwiseAdagrad(Directed):
    def __init__(
        self,
        params: Any,
        lr: Rate = 0.01,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'l2',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class Rprop(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: Rate = 0.01,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-06, 50.0),
        weight_decay: float = 0.0,
        *,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'l2',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class SGD(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: Rate = 0.001,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'l2',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class SGDScheduleFree(ScheduleFree):
    def __init__(
        self,
        params: Any,
        lr: Rate = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        warmup_steps: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        *,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'l2',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...

class SparseAdam(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: Rate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        *,
        l1: float = 0.0,
        decay: Literal["l2", "decoupled", "proximal"] = 'l2',
        maximize: bool = False,
        ema_decay: float | None = None,
        num_threads: int | None = None,
        state_dtype: Literal["float32", "bfloat16", "uint8"] | None = None,
        rounding: Literal["nearest", "stochastic"] | None = None,
        master_weights: bool = False,
        seed: int = 0,
    ) -> None: ...
    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        ...
