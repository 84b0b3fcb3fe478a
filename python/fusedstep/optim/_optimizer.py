"""The base class of all optimizers: parameters, groups, steps, and saving of the state."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from .. import _core
from .._base import checks as _checks
from .._base.checks import Check
from .._base.memory import averages_of, in_dtypes_of
from .._base.memory import zeros_like as allocate_like
from .._base.rules import RULES, require_width
from .._core import StepInfo as StepInfo
from . import _checkpoint, _narrow, _params, _rows
from ._group import Group
from ._options import Option, declare, taken
from ._params import Array, ParamKey

Rate = float | Callable[[int], float]
Gradients = Sequence[Array | None] | Mapping[str, Array | None]


_ONE = 1.0  # the default value of grad_scale and decay_scale in `step`; an argument that `is _ONE` needs no check


# Attributes of torch's optimizers that this class does not have, each with a hint for the error message.
IN_TORCH = {"param_groups": "it is called groups", "zero_grad": "pass zero_grads=True to step"}


class Optimizer:
    r"""Base class of all optimizers.

    One step computes the following lines for every element of the parameters, in one pass over memory::

        g = gradient / grad_scale * clip_coef        (negated if maximize is True)
        g = min(max(g, -clip_value), clip_value)     (if clip_value is given)
        decay="l2":         g += weight_decay * p + l1 * sign(p)
        decay="decoupled":  p = (p - lr * l1 * sign(p)) * (1 - lr * weight_decay)
        p = rule(p, g, state)                        (the formula of the optimizer)
        decay="proximal":   p = sign(p) * max(abs(p) - lr * l1, 0) / (1 + lr * weight_decay)
        ema = ema_decay * ema + (1 - ema_decay) * p  (if ema_decay is given)

    p is the parameter, and g its gradient. `state` contains the arrays that the optimizer keeps for the parameter, such
    as a momentum. ema is the average of the parameter. A line that begins with ``decay=`` is computed only if the
    option `decay` has this value. grad_scale and clip_value are arguments of `step`. clip_coef is a factor that `step`
    computes from its argument clip_norm. If `step` gets the argument decay_scale, it uses decay_scale * weight_decay
    and decay_scale * l1 in place of weight_decay and l1.

    Parameters
    ----------
    params : list of arrays, {name: array}, or list of groups
        Arrays of float32, float64, float16 or the bfloat16 of ml_dtypes. They are updated in place. Every array must be
        writeable, in native byte order and dense: its elements fill its memory without gaps, in any order of the axes.
        The arrays must not share memory. A group is a dict with the arrays under the key "params", and with options for
        these arrays. Groups can have all options below except `ema_decay`, `num_threads`, `master_weights` and `seed`.
        An option of a group replaces the optimizer's option of the same name.
    lr : float or function of the step
        Learning rate. If it is a function, every step calls the function with the number of the step: 1, 2, and so on.
        See `fusedstep.schedules`.
    weight_decay : float
        Strength of the weight decay. The option `decay` chooses the form of the weight decay.
    {options}

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described. The message says which argument is wrong, what it must be and what it was.
    """

    #: Name of the formula in csrc/rules.
    rule: ClassVar[str]
    #: All hyperparameters by name. A subclass declares its hyperparameters as `Option` in its body.
    options: ClassVar[Mapping[str, Option]]
    #: Names of the hyperparameters that every optimizer has.
    common: ClassVar[tuple[str, ...]]
    #: Checks of all hyperparameters by name, without those in `common` and without lr.
    checks: ClassVar[dict[str, Check]]
    #: Names of the options that decide the dtype or the initial values of the state. They cannot be changed later.
    only_at_first: ClassVar[frozenset[str]]
    #: True if torch.optim has the same optimizer under the name of this class.
    in_torch: ClassVar[bool] = True
    #: True if gradients may be `Rows`, which are gradients of some rows of a parameter.
    takes_rows: ClassVar[bool] = False
    #: True if the update of an element does not depend on other elements.
    element_wise: ClassVar[bool] = True
    #: Options with which networks of a few thousand weights train better than with the default options.
    for_small_networks: ClassVar[dict[str, float]] = {}

    l1 = Option(
        0.0,
        _checks.non_negative,
        "Strength of the L1 penalty. The penalties of `l1` and `weight_decay` together are an elastic net.",
        True,
    )
    decay = Option(
        "l2",
        _checks.decay_form,
        'Form of `weight_decay` and `l1`; see the formulas above. With "proximal", `l1` can make elements exactly 0.',
        True,
    )
    maximize = Option(False, _checks.flag, "True maximises the objective instead of minimising it.", True)
    ema_decay = Option(
        None,
        _checks.up_to_one,
        "Decay of the exponential (Polyak) averages of the parameters, from 0 to 1. The averages are in the attribute "
        "`ema`. With None, the optimizer computes no averages.",
        by_name=True,
        of_groups=False,
    )
    num_threads = Option(
        None,
        _checks.thread_count,
        "The largest number of threads for a step of this optimizer. None sets no limit.",
        by_name=True,
        of_groups=False,
    )
    state_dtype = Option(
        None,
        _checks.state_dtype,
        'Dtype of the states. With None, it is the dtype of the parameter. "uint8" stores 8 bits per element and one '
        "float32 scale for every 256 neighbouring elements.",
        by_name=True,
        begins_state=True,
    )
    rounding = Option(
        None,
        _checks.rounding,
        "Rounding of parameters and states that are narrower than float32. Stochastic rounding goes up or down at "
        "random, so that the expected value is exact. With None, parameters are rounded to nearest. With None, states "
        "are rounded stochastically if `state_dtype` makes them narrower than float32, and to nearest otherwise.",
        by_name=True,
    )
    master_weights = Option(
        False,
        _checks.flag,
        "True gives 16-bit parameters the precision of float32, so that small updates are not lost. An additional "
        "state stores the 16 bits that a bfloat16 parameter cannot store, or a float32 copy of a float16 parameter. "
        "With True, all other states of 16-bit parameters are float32 if `state_dtype` is None.",
        by_name=True,
        of_groups=False,
    )
    seed = Option(0, _checks.seed, "Seed of stochastic rounding.", by_name=True, of_groups=False)

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        declare(cls)

    def __init__(self, params: Any, *arguments: Any, **named: Any) -> None:
        label = type(self).__name__
        values = taken(type(self), arguments, named)
        entries, group_options = _params.parse(label, params)
        entries = self._regrouped(entries, group_options, values)
        arrays = [e.array for e in entries]
        names = [e.key if isinstance(e.key, str) else "" for e in entries]
        _core.check_parameters(label, arrays, names)
        self._keys: list[ParamKey] = [e.key for e in entries]
        self._arrays, self._foreign = arrays, _params.foreign_memory(arrays)
        self._group_of = [e.group for e in entries]
        shared = {n: o.checked(f"{label}: {n}", values[n]) for n, o in self.options.items() if not o.of_groups}
        self._num_threads: int | None = shared["num_threads"]
        self._ema_decay: float | None = shared["ema_decay"]
        self._master_weights: bool = shared["master_weights"]
        self._seed: int = shared["seed"]
        self._groups: list[Group] = []
        for k, own in enumerate(group_options):
            where = f"{label}: groups[{k}]: " if len(group_options) > 1 or own else f"{label}: "
            members = tuple(e.array for e in entries if e.group == k)
            chosen = {name: values[name] for name in self._all_checks()} | own
            self._groups.append(Group(where, members, chosen, self._all_checks(), self.only_at_first, self._push))
            self._require_width(where, self._groups[k])
        self._variants = [self._variant(g) for g in self._groups]
        self._state = self._allocate_state()
        self._ema = None if self._ema_decay is None else averages_of(self._arrays)
        self._plan = _core.plan_of_arrays(
            label,
            self.rule,
            self._keys,
            arrays,
            names,
            self._group_of,
            len(self._groups),
            self._ema_decay,
            self._master_weights,
            self._seed,
        )
        self._scheduled: list[tuple[int, Any]] = []  # groups whose lr is a schedule
        # Every step reads these values. They are in one attribute, because this class has a method __getattr__, which
        # makes reading attributes slow.
        self._of_steps = self._plan.step, self._scheduled, self._num_threads
        for group in self._groups:
            self._push(group)
        for k, key in enumerate(self._keys):
            average = {} if self._ema is None else {"ema": self._ema[k]}
            self._plan.attach(k, {**self._state[key], **average})
        self._plan.settle()

    @classmethod
    def _regrouped(
        cls, entries: list[_params.Entry], groups: list[dict[str, Any]], values: Mapping[str, Any]
    ) -> list[_params.Entry]:
        """Return `entries`: each parameter with the number of its group.

        A subclass may add groups to `groups` here, and move parameters to these groups. `values` contains the
        optimizer's options.
        """
        return entries

    @classmethod
    def _all_checks(cls) -> dict[str, Check]:
        return {name: option.checked for name, option in cls.options.items() if option.of_groups}

    @classmethod
    def _variant(cls, group: Mapping[str, Any]) -> int:
        return RULES[cls.rule].variant(group)

    def _allocate_state(self) -> dict[ParamKey, dict[str, Array]]:
        rule, keys = RULES[self.rule], self._keys
        state: dict[ParamKey, dict[str, Array]] = {key: {} for key in keys}
        groups = [self._groups[k] for k in self._group_of]
        dtypes = [
            _narrow.dtype_of_states(p, g["state_dtype"], self._master_weights)
            for p, g in zip(self._arrays, groups, strict=True)
        ]
        for name, *_ in rule.states:
            having = [v for v, k in enumerate(self._group_of) if name in self._state_names(k)]
            made = allocate_like([self._arrays[v] for v in having], [dtypes[v] for v in having])
            for v, array in zip(having, made, strict=True):
                initial = self._initial_state(name, groups[v])
                _narrow.add(state[keys[v]], name, array, initial, rule)
        for key, p, group in zip(keys, self._arrays, groups, strict=True):
            for name, shape in self._own_states(p.shape).items():
                start = self._initial_state(name, group)
                state[key][name] = np.full(shape, start, np.float64 if p.dtype == np.float64 else np.float32)
            state[key] |= {name: np.array(initial) for name, initial in rule.scalars}
            if self._master_weights and p.itemsize == 2:
                state[key] |= _narrow.kept_bits(p)
        return state

    def _state_names(self, k: int) -> list[str]:
        return RULES[self.rule].state_names(self._variants[k])

    @classmethod
    def _own_states(cls, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of the states that only `_directed` uses, for a parameter of this shape."""
        return {}

    @classmethod
    def _directed(
        cls, g: Array, state: Mapping[str, Array], t: int, group: Mapping[str, Any], dtype: str
    ) -> tuple[dict[str, Array], Array]:
        """Return the new values of `state`, and the array that the C++ kernel gets in place of the gradient g.

        t is the number of the step, and `dtype` the name of the parameter's dtype.
        """
        raise NotImplementedError

    @classmethod
    def _initial_state(cls, name: str, group: Mapping[str, Any]) -> float:
        return 0.0

    def _require_width(self, where: str, group: Mapping[str, Any]) -> None:
        is_double = any(a.dtype == np.float64 for a in group["params"])
        require_width(where, group, is_double, self.element_wise)

    def _switched(self, one: int, other: int) -> list[str]:
        """Return the options that are on in one of two variants and off in the other."""
        return [name for j, name in enumerate(RULES[self.rule].variants) if (one ^ other) >> j & 1]

    def _push(self, group: Group) -> None:
        """Pass a group's options to the C++ core."""
        rule = RULES[self.rule]
        k = next(k for k, g in enumerate(self._groups) if g is group)
        variant = self._variant(group)
        if rule.state_names(variant) != self._state_names(k):
            changed = self._switched(variant, self._variants[k])
            raise ValueError(
                f"{type(self).__name__}: groups[{k}]: {', '.join(changed)} must be turned on or off when the optimizer "
                f"is made; got { {name: group.get(name) for name in changed} } later"
            )
        self._require_width(group.what(""), group)
        if "eps" in group:
            _checks.survives(group.what("eps"), group["eps"], {str(p.dtype) for p in group["params"]})
        self._plan.set_group(k, self._options(group))
        self._variants[k] = variant
        self._scheduled[:] = [(i, g["lr"]) for i, g in enumerate(self._groups) if callable(g["lr"])]

    @classmethod
    def _options(cls, group: Mapping[str, Any]) -> _core.GroupOptions:
        """Return a group's options as the tuple that the C++ core needs."""
        lr = 0.0 if callable(group["lr"]) else group["lr"]
        return (
            cls._variant(group),
            RULES[cls.rule].hyper_values(cls.options, group),
            lr,
            group["weight_decay"],
            group["l1"],
            group["decay"],
            group["maximize"],
            group["state_dtype"] or "",
            group["rounding"] or "",
        )

    @property
    def params(self) -> Sequence[Array] | Mapping[str, Array]:
        """The parameters: a read-only dict if all parameters have names, else a tuple."""
        return self._by_name(self._arrays)

    @property
    def ema(self) -> Sequence[Array] | Mapping[str, Array] | None:
        """The averages of the parameters, as a dict or a tuple like `params`. None if `ema_decay` was not given.

        Inside a ``with`` block of `averaged`, the parameters contain the averages. So inside the block, `ema` returns
        the parameters themselves. But for a 16-bit parameter, it always returns a separate float32 array.
        """
        if self._ema is None:
            return None
        swapped = self._plan.reserved_by == "averaged"
        shown = [
            p if swapped and a.dtype == p.dtype else a.view() for p, a in zip(self._arrays, self._ema, strict=True)
        ]
        return self._by_name(shown)

    def _by_name(self, arrays: list[Array]) -> Sequence[Array] | Mapping[str, Array]:
        named = {k: a for k, a in zip(self._keys, arrays, strict=True) if isinstance(k, str)}
        return MappingProxyType(named) if len(named) == len(arrays) else tuple(arrays)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups. Each group maps names of options to values. If you change a value, the next step uses it."""
        return tuple(self._groups)

    @property
    def state(self) -> Mapping[ParamKey, Mapping[str, Array]]:
        """Views of the state arrays: ``state[parameter][name]``, for example ``state[0]["exp_avg"]``.

        ``parameter`` is the name of a parameter, or its position if it has no name. ``name`` is the name of a state.
        """
        views = {key: {name: a.view() for name, a in arrays.items()} for key, arrays in self._state.items()}
        return MappingProxyType({key: MappingProxyType(arrays) for key, arrays in views.items()})

    @property
    def steps(self) -> int:
        """The number of steps so far, without skipped steps."""
        return self._plan.steps

    def step(
        self,
        grads: Gradients,
        *,
        lr: float | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        grad_scale: float = _ONE,
        skip_nonfinite: bool = False,
        zero_grads: bool = False,
        decay_scale: float = _ONE,
        grad_norm: float | None = None,
    ) -> StepInfo:
        r"""Update all parameters in place, in one pass over memory.

        If the step raises an error, it has changed nothing.

        Parameters
        ----------
        grads : sequence of arrays in the order of the parameters, or {name: array}
            One gradient for each parameter, with the shape of the parameter and any strides. A float64 parameter needs
            a float64 gradient. For a float32, float16 or bfloat16 parameter, the gradient has any of these three
            dtypes. A gradient can also be an object with ``__dlpack__`` in the CPU's memory, such as a tensor of torch
            or an array of JAX. Such an object is not copied. If a gradient is None, its parameter does not change, and
            the states and the average of this parameter do not change. If a parameter has no axes, its gradient
            can be a NumPy scalar. Some optimizers also allow `Rows`, which are gradients of some rows of a parameter.
        lr : float, optional
            Learning rate of all groups in this step. By default, each group uses its own learning rate.
        clip_norm : float, optional
            All gradients are multiplied by clip_coef = min(1, clip_norm / (norm + 1e-6)). The norm is the Euclidean
            norm of all gradients together, after their division by `grad_scale`.
        clip_value : float, optional
            Every element of the gradients is limited to the range from -clip_value to clip_value. This is done after
            the division by `grad_scale` and the multiplication by clip_coef.
        grad_scale : float
            The gradients are divided by this number before everything else.
        skip_nonfinite : bool
            If this argument is True and a gradient contains inf or nan, the step is skipped. The step checks the
            gradients twice: as they are given, and after the division by `grad_scale` and the multiplication by
            clip_coef. A skipped step changes no parameter, no state and no average. If `zero_grads` is True, a skipped
            step also sets the gradients to zero.
        zero_grads : bool
            If this argument is True, the step also sets the gradients to zero, in the same pass over memory.
        decay_scale : float
            Factor of `weight_decay` and `l1` in this step. For example, if every step has ``decay_scale=B / T`` for a
            batch of B examples from a data set of T examples, the factors of one epoch add up to 1.
        grad_norm : float, optional
            The Euclidean norm of all gradients after their division by `grad_scale`, if you have already computed it,
            for example over the gradients of all processes. The step uses this number for `clip_norm`, and does not
            compute a norm. If `grad_norm` is given and `skip_nonfinite` is True, the step does not check the gradients.
            Then the step is skipped only if `grad_norm` is inf or nan.

        Returns
        -------
        StepInfo
            ``step`` is the number of steps so far, without skipped steps. ``grad_norm`` is the norm if it was given or
            computed, else None. ``clip_coef`` is the factor from the description of `clip_norm` above. ``skipped`` is
            True if the step was skipped.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described.
        RuntimeError
            If `step` is called inside a ``with`` block of `averaged`.
        """
        if type(grads) is not list and type(grads) is not dict:
            grads = self._in_order(grads)
        step, scheduled, threads = self._of_steps
        rates = self._rates(lr) if lr is not None or scheduled else None
        try:
            info = step(
                grads,
                rates,
                _ONE if decay_scale is _ONE else self._option(_checks.non_negative, "decay_scale", decay_scale),
                None if clip_norm is None else self._option(_checks.non_negative, "clip_norm", clip_norm),
                None if clip_value is None else self._option(_checks.non_negative, "clip_value", clip_value),
                _ONE if grad_scale is _ONE else self._option(_checks.positive, "grad_scale", grad_scale),
                None if grad_norm is None else self._option(_checks.norm, "grad_norm", grad_norm),
                skip_nonfinite is not False and _checks.flag(self._what("skip_nonfinite"), skip_nonfinite),
                zero_grads is not False and _checks.flag(self._what("zero_grads"), zero_grads),
                threads,
            )
        except TypeError:  # the C++ core refuses `Rows` objects; `_rows.step` converts them
            options = (decay_scale, clip_norm, clip_value, grad_scale, grad_norm, skip_nonfinite, zero_grads)
            with_rows = _rows.step(self, grads, rates, options)
            if with_rows is None:
                raise
            return with_rows
        assert info is not None  # info can be None only in fusedstep.torch, where users can replace states
        return info

    def _option(self, check: Check, name: str, value: Any) -> Any:
        return check(self._what(name), value)

    def _what(self, argument: str) -> str:
        return f"{type(self).__name__}.step: {argument}"

    def _in_order(self, grads: Any) -> Any:
        """Return gradients as a list or a dict."""
        if isinstance(grads, (list, tuple)):
            return list(grads)
        if not isinstance(grads, Mapping):
            raise TypeError(
                f"{self._what('grads')} must be a list, a tuple or a dict of arrays; got {type(grads).__name__}"
            )
        return dict(grads)

    def _rates(self, lr: float | None) -> list[float]:
        """Return the learning rate of every group for the next step."""
        if lr is not None:
            return [_checks.non_negative(self._what("lr"), lr)] * len(self._groups)
        t = self.steps + 1
        rates = [group["lr"] for group in self._groups]
        for k, schedule in self._scheduled:
            rates[k] = _checks.non_negative(f"{self._what('lr')} of groups[{k}] at step {t}", schedule(t))
        return rates

    @contextmanager
    def _reserved(self, method: str, values: Callable[[], list[Array]] | None = None) -> Iterator[None]:
        """Refuse steps inside the ``with`` block, with an error message that names `method`.

        `values` is a function that returns arrays. If `values` is given, these arrays are swapped with the parameters.
        At the end of the block, the parameters get their old values back. This is impossible if a parameter was
        resized inside the block. In this case, the optimizer refuses all later steps, because they would start from the
        wrong values.
        """
        # Ctrl-C may raise KeyboardInterrupt at any line. `release` does nothing if `reserve` has not stored `holder`.
        holder = object()
        try:
            self._plan.reserve(method, holder)
            if values is not None:
                self._plan.swap(values())
            yield
        finally:
            self._plan.release(holder)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Swap the parameters with their averages, in place, inside a ``with`` block.

        The averages are those of `ema_decay`. A schedule-free optimizer without `ema_decay` uses its own averages. At
        the end of the block, the parameters get their old values back.

        Raises
        ------
        RuntimeError
            If there are no averages, or if `step` is called inside the block.
        ValueError
            If a parameter is read-only or was resized. If a parameter was resized inside the block, no parameter gets
            its old values back.
        """
        averages = self._averages()
        if averages is None:
            raise RuntimeError(f"{type(self).__name__}.averaged: ema_decay must be given to the optimizer; it was None")
        with self._reserved("averaged", averages):
            yield

    @property
    def has_averages(self) -> bool:
        """True if there are averages for `averaged`."""
        return self._averages() is not None

    def _averages(self) -> Callable[[], list[Array]] | None:
        """Return a function that returns the averages in the parameters' dtypes, or None if there are no averages."""
        ema = self._ema
        return None if ema is None else lambda: in_dtypes_of(self._arrays, ema)

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of all data that are needed to resume a training, except the parameters.

        If a learning rate is a function, the function is not included. But if the function has a method
        ``state_dict``, the result of this method is included.
        """
        return _checkpoint.collect(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the result of `state_dict`. If an error is raised, nothing has changed.

        Raises
        ------
        TypeError, ValueError
            If the state comes from another class of optimizer, or from parameters with other names, shapes or dtypes.
        """
        _checkpoint.restore(self, state)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result of `state_dict` to a safetensors file, without pickle.

        If `path` exists, it is replaced when the new file is complete.

        Raises
        ------
        ImportError
            If the package safetensors is not installed: ``pip install 'fusedstep[checkpoint]'``.
        """
        _checkpoint.write(self, path)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Load a file that `save` wrote. If an error is raised, nothing has changed."""
        _checkpoint.read(self, path)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._all_checks():
            raise AttributeError(f'{type(self).__name__}: {name} is an option of a group; set groups[0]["{name}"]')
        if name in self.options:
            raise AttributeError(f"{type(self).__name__}: {name} cannot be changed; make a new optimizer")
        super().__setattr__(name, value)

    if not TYPE_CHECKING:  # with this method, type checkers would accept every name

        def __getattr__(self, name: str) -> NoReturn:
            label = type(self).__name__
            if name in self._all_checks():
                raise AttributeError(f'{label}: {name} is an option of a group; read groups[0]["{name}"]')
            hint = f"; {IN_TORCH[name]}" if name in IN_TORCH else ""
            raise AttributeError(f"{label!r} object has no attribute {name!r}{hint}")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be copied or pickled, because it updates arrays in place; "
            "make a new optimizer for the copied arrays and load the state_dict"
        )

    def __repr__(self) -> str:
        size = sum(a.size for a in self._arrays)
        lines = [f"{type(self).__name__}({len(self._arrays)} arrays, {size:,} elements, step {self.steps}"]
        for k, group in enumerate(self._groups):
            name = f"groups[{k}]: {len(group['params'])} arrays, " if len(self._groups) > 1 else ""
            shown = ("lr", "weight_decay", "l1", "decay") if group["l1"] else ("lr", "weight_decay", "decay")
            lines.append(name + ", ".join(f"{option}={group[option]!r}" for option in shown))
        return (",\n  " if len(lines) > 2 else ", ").join(lines) + ")"

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Take one step in NumPy: return the parameter after the step, and update `state`.

        The C++ kernel must return the same bits as this function. p is the parameter before the step, g its gradient
        after clipping and L2 decay, t the number of the step, lr the learning rate, and group the options.
        """
        raise NotImplementedError


declare(Optimizer)
