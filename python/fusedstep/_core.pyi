from typing import Any, final

import numpy as np

def isa() -> str: ...
def set_isa(name: str) -> None: ...
def available_isas() -> list[str]: ...
def backend() -> str: ...
def set_backend(name: str) -> None: ...
def num_threads() -> int: ...
def set_num_threads(n: int) -> None: ...
def set_machine_limit(n: int) -> None: ...
def force_threads(n: int) -> None: ...
def rules() -> dict[str, tuple[tuple[str, ...], tuple[str, ...], list[tuple[str, int]]]]: ...
def roofline(read_write: list[np.ndarray[Any, Any]], read: np.ndarray[Any, Any], num_threads: int = 0) -> None: ...
def check_parameters(label: str, params: list[Any], names: list[str]) -> None: ...

@final
class StepInfo:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    @property
    def step(self) -> int: ...
    @property
    def grad_norm(self) -> float | None: ...
    @property
    def clip_coef(self) -> float: ...
    @property
    def skipped(self) -> bool: ...

@final
class Plan:
    def __init__(
        self,
        label: str,
        rule: str,
        params: list[Any],
        names: list[str],
        group_of: list[int],
        states: list[list[Any]],
        averages: list[Any] | None,
        ema_decay: float,
    ) -> None: ...
    def set_group(
        self,
        group: int,
        variant: int,
        hyper: list[float],
        lr: float,
        weight_decay: float,
        l1: float,
        decay: str,
        maximize: bool,
    ) -> None: ...
    def step(
        self,
        grads: Any,
        rates: list[float] | None,
        decay_scale: float,
        clip_norm: float,
        clip_value: float,
        grad_scale: float,
        skip_nonfinite: bool,
        zero_grads: bool,
        num_threads: int,
    ) -> StepInfo: ...
    def check_parameters(self, call: str) -> None: ...
    @property
    def steps(self) -> int: ...
    @property
    def tensor_steps(self) -> list[int]: ...
    def set_steps(self, steps: int, of_tensors: list[int]) -> None: ...

@final
class TensorPlan:
    def __init__(
        self,
        label: str,
        rule: str,
        tensor_type: Any,
        increment_version: Any,
        groups: list[Any],
        state: dict[Any, Any],
        params: list[Any],
        targets: list[Any],
        idle: list[Any],
        names: list[str],
        group_of: list[int],
        ema_decay: float,
    ) -> None: ...
    def set_group(
        self,
        group: int,
        variant: int,
        hyper: list[float],
        weight_decay: float,
        l1: float,
        decay: str,
        maximize: bool,
    ) -> None: ...
    def attach(self, param: int, states: list[Any], count: Any, steps: int, average: Any) -> None: ...
    def watch(self) -> None: ...
    def step(self, clip_norm: float | None, grad_scale: float, zero_grads: bool, num_threads: int | None) -> int: ...
    @property
    def info(self) -> StepInfo: ...

def check_tensors(label: str, tensor_type: Any, params: list[Any], names: list[str]) -> list[bool]: ...
def drop_gradients(params: list[Any]) -> None: ...
def drop(
    call: str,
    argument: str,
    x: Any,
    out: Any,
    shape: tuple[int, ...] | None,
    threshold: int,
    scale: float,
    seed: int,
    stream: int,
    offset: int,
) -> np.ndarray[Any, Any]: ...
def kept(
    shape: tuple[int, ...], threshold: int, seed: int, stream: int, offset: int
) -> np.ndarray[Any, np.dtype[np.bool_]]: ...
def noise(call: str, x: Any, out: Any, std: float, seed: int, stream: int, offset: int) -> np.ndarray[Any, Any]: ...
def normal(
    shape: tuple[int, ...], is_double: bool, std: float, seed: int, stream: int, offset: int
) -> np.ndarray[Any, Any]: ...
def philox_block(seed: int, stream: int, index: int) -> tuple[int, int, int, int]: ...

@final
class BatchNormSaved:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    @property
    def x(self) -> np.ndarray[Any, Any] | None: ...
    def release_x(self) -> None: ...
    @property
    def mean(self) -> np.ndarray[Any, Any]: ...
    @property
    def invstd(self) -> np.ndarray[Any, Any]: ...
    @property
    def training(self) -> bool: ...

def batch_norm(
    x: Any,
    gamma: Any,
    beta: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float | None,
    eps: float,
    axis: int,
    relu: bool,
    residual: Any,
    out: Any,
    num_batches: Any,
) -> tuple[np.ndarray[Any, Any], BatchNormSaved]: ...
def batch_norm_backward(
    dy: Any, saved: BatchNormSaved, out: Any, x: Any = None
) -> tuple[
    np.ndarray[Any, Any],
    np.ndarray[Any, Any] | None,
    np.ndarray[Any, Any] | None,
    np.ndarray[Any, Any] | None,
]: ...

@final
class Moments:
    def __init__(self) -> None: ...
    def update(self, x: Any, axis: int) -> None: ...
    def merge(self, other: Moments) -> None: ...
    @property
    def count(self) -> int: ...
    @property
    def mean(self) -> np.ndarray[Any, Any]: ...
    @property
    def m2(self) -> np.ndarray[Any, Any]: ...
