"""Flags made from an options class: one for each option that a text can give, none forgotten.

Knows fields, help texts and typer; not what a command does with the values. Secrets have no flag,
for everybody on the machine can read a command line: they come from the environment.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Container, Iterator
from enum import Enum
from typing import Annotated, Any, Final

import attrs
import typer

from ..options import checks as _check
from ..options.room import RoomOptions
from ..options.texts import TextOption, text_options
from ..options.worker import Options
from ._option_help import HELP, ROOM, ROOM_HELP

Given = dict[str, Any]
"""Options by name, with the values that were given."""

_METAVARS: Final[dict[Any, str]] = {int: "N", float: "NUMBER", str: "TEXT", dict: "JSON"}


@attrs.frozen(kw_only=True)
class _Flag:
    """One option as a flag."""

    option: TextOption
    panel: str
    says: str
    default: str
    variable: str

    @property
    def spelling(self) -> str:
        return "--" + self.option.name.replace("_", "-")

    def parameter(self) -> inspect.Parameter:
        """The flag as typer wants it: a keyword that is None where it was not given."""
        option, is_switch = self.option, self.option.kind is bool
        names = f"{self.spelling}/--no-{self.spelling[2:]}" if is_switch else self.spelling
        words = _words(option)
        notes = [f"default: {self.default}"] if self.default else []
        notes += [self.variable] if self.variable else []
        info = typer.Option(
            names,
            help=f"{self.says} ({'; '.join(notes)})" if notes else self.says,
            metavar=None if is_switch else _metavar(option),
            rich_help_panel=self.panel,
            show_default=False,
            autocompletion=(lambda: list(words)) if words else None,
        )
        kind = bool | None if is_switch else str | None
        return inspect.Parameter(
            option.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[kind, info],
        )

    def value(self, given: Any) -> Any:
        """What the flag's text stands for."""
        return given if isinstance(given, bool) else self.option.read(self.spelling, given)


def with_options(
    *, leave_out: Container[str] = (), only: Container[str] | None = None, **defaults: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag for each of the `Options`; what is given arrives as `given`.

    Arguments: `leave_out`, options that make no sense for the command; `only`, all that make any;
    `defaults`, what the help says in place of a default that the command has another of.
    """
    flags = [
        flag
        for flag in _option_flags(defaults)
        if flag.option.name not in leave_out and (only is None or flag.option.name in only)
    ]
    return functools.partial(_with_flags, flags, "given")


def with_room_options(
    *, leave_out: Container[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag for each simple room option; what is given arrives as `room_given`."""
    flags = [flag for flag in _room_flags() if flag.option.name not in leave_out]
    return functools.partial(_with_flags, flags, "room_given")


def _option_flags(defaults: dict[str, str]) -> Iterator[_Flag]:
    order = list(HELP)
    options = text_options(Options).values()
    for option in sorted(options, key=lambda o: order.index(o.name) if o.name in HELP else 999):
        panel, says = HELP.get(option.name, ("Options", ""))
        if not option.is_secret:
            yield _Flag(
                option=option,
                panel=panel,
                says=says,
                default=defaults.get(option.name, _shown_default(option)),
                variable=f"${option.variable}",
            )


def _room_flags() -> Iterator[_Flag]:
    for option in text_options(RoomOptions).values():
        # What has a structure comes from a file, where it may hold secrets.
        if not option.is_secret and option.kind is not dict:
            says = ROOM_HELP.get(option.name, "")
            variable = "$VSDK_TRIO_TRANSPORT" if option.name == "transport_mode" else ""
            default = "" if option.kind is bool else _shown_default(option)
            yield _Flag(option=option, panel=ROOM, says=says, default=default, variable=variable)


def _with_flags(flags: list[_Flag], name: str, command: Callable[..., None]) -> Callable[..., None]:
    """The command, with these flags in place of its parameter `name`."""
    own = inspect.signature(command, eval_str=True).parameters
    by_name = {flag.option.name: flag for flag in flags}

    @functools.wraps(command)
    def flagged(**arguments: Any) -> None:
        given = {
            name: flag.value(arguments.pop(name))
            for name, flag in by_name.items()
            if arguments[name] is not None
        }
        rest = {key: value for key, value in arguments.items() if key not in by_name}
        command(**rest, **{name: given})

    kept = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in own.values()
        if parameter.name != name
    ]
    parameters = [*kept, *(flag.parameter() for flag in flags)]
    signature = inspect.Signature(parameters)
    del flagged.__wrapped__  # else its own parameters are looked at
    flagged.__signature__ = signature  # type: ignore[attr-defined]  # what typer goes by
    flagged.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flagged


def _validator(option: TextOption) -> Any:
    """The check of the option's values, also where the option may be left out."""
    validator = option.field.validator
    return getattr(validator, "validator", validator)


def _words(option: TextOption) -> tuple[str, ...]:
    if isinstance(option.kind, type) and issubclass(option.kind, Enum):
        return tuple(str(member.value) for member in option.kind)
    validator = _validator(option)
    return validator.known if isinstance(validator, _check.OneOf) else ()


def _metavar(option: TextOption) -> str:
    if words := _words(option):
        return "|".join(words)
    validator = _validator(option)
    unit = validator.unit.strip(" ()") if isinstance(validator, _check.Number) else ""
    if unit or option.name.endswith("_seconds"):
        return (unit or "seconds").upper()
    return _METAVARS.get(option.kind, "MODULE:NAME")


def _shown_default(option: TextOption) -> str:
    default = option.field.default
    if default is None or default is attrs.NOTHING:
        return ""
    if isinstance(default, Enum):
        return str(default.value)
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"{default:g}" if isinstance(default, float) else str(default)
