"""Declarations of hyperparameters.

An `Option` in the body of an optimizer's class declares a hyperparameter. From it, the class gets an argument of the
constructor, the check of this argument, an option of the groups, and a text in the docstring.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .._base import checks
from .._base.checks import Check

Group = Mapping[str, Any]

#: For the check of an option: its type in the docstring, and its type annotation. Options with other checks are floats.
KINDS: dict[Check, tuple[str, str]] = {
    checks.rate: ("float or function of the step", "Rate"),
    checks.flag: ("bool", "bool"),
    **dict.fromkeys(
        (checks.betas, checks.betas_of_interpolation, checks.factors_around_one, checks.bounds),
        ("(float, float)", "tuple[float, float]"),
    ),
    **dict.fromkeys(
        (checks.three_betas, checks.three_numbers), ("(float, float, float)", "tuple[float, float, float]")
    ),
    checks.eps_pair: ("(float or None, float)", "tuple[float | None, float]"),
    checks.iterations: ("int", "int"),
    checks.rate_adjustment: ('{"original", "match_rms_adamw"}', 'Literal["original", "match_rms_adamw"]'),
    checks.decay_form: ('{"l2", "decoupled", "proximal"}', 'Literal["l2", "decoupled", "proximal"]'),
    checks.thread_count: ("int", "int"),
    checks.seed: ("int", "int"),
    checks.state_dtype: ('{"float32", "bfloat16", "uint8"}', 'Literal["float32", "bfloat16", "uint8"]'),
    checks.rounding: ('{"nearest", "stochastic"}', 'Literal["nearest", "stochastic"]'),
}
RAISES = """Raises
------
TypeError, ValueError
    If an argument is not as described. The message says which argument is wrong, what it must be and what it was.
"""


def under_its_name(name: str, group: Group) -> dict[str, Any]:
    """Return the arguments that the C++ kernel gets for an option, as a dict.

    A number is one argument with the option's name. A tuple such as ``betas`` becomes one argument for each of its
    numbers: ``beta1``, ``beta2`` and so on. A flag becomes no argument, because it selects a variant of the kernel.
    """
    value = group[name]
    if isinstance(value, bool):
        return {}
    if isinstance(value, tuple):
        return {f"{name.removesuffix('s')}{i}": part for i, part in enumerate(value, 1)}
    return {name: value}


def as_number(name: str, group: Group) -> dict[str, Any]:
    """Return the argument that the C++ kernel gets for a flag: 1.0 for True, and 0.0 for False."""
    return {name: float(group[name])}


def under_a_flag(*flags: str, otherwise: str) -> Callable[[str, Group], dict[str, Any]]:
    """Return a function for `Option.in_kernel`. The function passes an option's value to the C++ kernel as an argument.

    `flags` are names of other options. The argument has the name of the first of these options that is True. If all of
    them are False, the name of the argument is `otherwise`.
    """
    return lambda name, group: {next((flag for flag in flags if group.get(flag)), otherwise): group[name]}


@dataclass(frozen=True)
class Option:
    """A hyperparameter, declared in an optimizer's class: ``lr = Option(0.01, checks.rate, "Learning rate.")``.

    Parameters
    ----------
    default : object
        The default value. If it is None, users can also pass None.
    check : function (what, value) -> value
        Returns the value as a plain Python type, or raises an error. `what` is the name in the error message.
    text : str
        The description in the docstring.
    by_name : bool
        True if the argument is keyword-only.
    of_groups : bool
        True if each group of parameters can have its own value.
    begins_state : bool
        True if the option decides the dtype or the initial values of the state. Such an option cannot be changed later.
    in_kernel : function (name, group) -> {name: value}
        Gets the option's name and all options of a group. Returns the C++ kernel's arguments for the option.
    """

    default: Any
    check: Check
    text: str
    by_name: bool = False
    of_groups: bool = True
    begins_state: bool = False
    in_kernel: Callable[[str, Group], dict[str, Any]] = under_its_name

    def checked(self, what: str, value: Any) -> Any:
        """Return the value as a plain Python type. An error message begins with `what`."""
        return None if value is None and self.default is None else self.check(what, value)

    def kind(self) -> str:
        """Return the option's type for the docstring."""
        return KINDS.get(self.check, ("float", ""))[0] + " or None" * (self.default is None)

    def annotation(self) -> str:
        """Return the option's type annotation."""
        return KINDS.get(self.check, ("", "float"))[1] + " | None" * (self.default is None)


def declare(cls: Any) -> None:
    """Set the options, the constructor and the docstring of a class from the `Option`s in its body."""
    own = {name: value for name, value in vars(cls).items() if isinstance(value, Option)}
    for name in own:
        delattr(cls, name)
    if not hasattr(cls, "options"):
        cls.options, cls.common = MappingProxyType(own), tuple(own)
    merged = {**cls.options, **own}
    found = {name: merged[name] for name in (*(n for n in merged if n not in cls.common), *cls.common)}
    cls.options = MappingProxyType(found)
    cls.checks = {name: o.check for name, o in found.items() if name not in (*cls.common, "lr")}
    cls.only_at_first = frozenset(name for name, o in found.items() if o.begins_state)
    if "__init__" not in vars(cls):
        cls.__init__ = _constructor(cls)
    if cls.common == tuple(own):  # cls is the base class `Optimizer`
        cls.__init__.__signature__ = signature(cls)
    if own and cls.__doc__:
        cls.__doc__ = _documented(cls, own)


def taken(cls: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """Return the value of every option, from the constructor's arguments after `params`."""
    label, options = cls.__name__, cls.options
    places = [name for name, option in options.items() if not option.by_name]
    if len(arguments) > len(places):
        raise TypeError(
            f"{label}: at most {len(places) + 1} arguments can be given by position (params, {', '.join(places)}); "
            f"got {len(arguments) + 1}"
        )
    given = dict(zip(places, arguments, strict=False))
    for name in named:
        if name not in options:
            raise TypeError(f"{label}: {name} is not an option; the options are {', '.join(options)}")
        if name in given:
            raise TypeError(f"{label}: {name} is given twice, by position and by name")
    return {name: option.default for name, option in options.items()} | given | named


def _constructor(cls: Any) -> Callable[..., None]:
    def __init__(self: Any, params: Any, *arguments: Any, **options: Any) -> None:
        super(cls, self).__init__(params, *arguments, **options)

    __init__.__qualname__, __init__.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    __init__.__signature__ = signature(cls)  # type: ignore[attr-defined]
    return __init__


def signature(cls: Any) -> inspect.Signature:
    """Return the signature of the constructor."""
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter(name, kinds[0]) for name in ("self", "params")]
    parameters += [
        inspect.Parameter(name, kinds[o.by_name], default=o.default, annotation=o.annotation())
        for name, o in sorted(cls.options.items(), key=lambda item: item[1].by_name)
    ]
    return inspect.Signature(parameters)


def _documented(cls: Any, own: dict[str, Option]) -> str:
    """Return the docstring of `cls`, completed with the descriptions of the options.

    The descriptions replace the text "{options}". If the docstring does not contain this text, the descriptions become
    a section before the notes.
    """
    text = inspect.cleandoc(cls.__doc__)
    if "{options}" in text:
        return text.replace("{options}", _lines(own))
    shared = [name for name in cls.common if name not in own]
    described = {name: o for name, o in cls.options.items() if name not in shared}
    lines = ["params : list of arrays, {name: array}, or list of groups", "    The parameters; see `Optimizer`."]
    lines += [_lines(described), ", ".join(shared), "    Options of all optimizers; see `Optimizer`."]
    section = "Parameters\n----------\n" + "\n".join(lines)
    before, notes, after = text.partition("Notes\n-----\n")
    return f"{before}{section}\n\n{RAISES}\n{notes}{after}"


def _lines(options: Mapping[str, Option]) -> str:
    return "\n".join(f"{name} : {o.kind()}\n{_filled(o.text)}" for name, o in options.items())


def _filled(text: str) -> str:
    return textwrap.fill(text, 112, initial_indent="    ", subsequent_indent="    ")
