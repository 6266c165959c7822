"""From a command line to a configuration: every option of the model by its dotted name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, CliSettingsSource, SettingsConfigDict

from polarity.config.sections import Section
from polarity.errors import ConfigurationError

S = TypeVar("S", bound=Section)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without a page of usage before it."""

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            wrong = unknown.split()[0].split("=")[0]
            known = [option for action in self._actions for option in action.option_strings]
            near = get_close_matches(wrong, known, n=1)
            message = f"there is no option {wrong}" + (f"; did you mean {near[0]}?" if near else "")
        raise ConfigurationError(
            f"{message.rstrip('.')}{'' if message.endswith('?') else '.'} {self.prog} --help lists them."
        )


def parse_options(
    model: type[S],
    arguments: Sequence[str] | None = None,
    *,
    prog: str,
    flags: Mapping[str, str] | None = None,
    named: Mapping[str, str] | None = None,
) -> tuple[S, dict[str, str | None]]:
    """Read a configuration from the command line over the defaults of the profile that it names.

    Parameters
    ----------
    model : type
        The configuration model; its docstrings are the help texts.
    arguments : sequence of str, optional
        Default: the process's own.
    prog : str
        What the command is called.
    flags : mapping, optional
        Switches outside the configuration (name without dashes, and help text).
    named : mapping, optional
        Options outside the configuration that take a value.

    Returns
    -------
    configuration, and the flags and named options that were given, with the value or none

    Raises
    ------
    ConfigurationError
        If an option is unknown or has a wrong value; the message names it.
    """
    options = type(
        "Options",
        (model, BaseSettings),
        {
            "model_config": SettingsConfigDict(
                frozen=True,
                extra="forbid",
                use_attribute_docstrings=True,
                cli_avoid_json=True,
                cli_hide_none_type=True,
                cli_implicit_flags=True,
                cli_use_class_docs_for_groups=True,
            ),
            "__doc__": model.__doc__,
            "settings_customise_sources": classmethod(lambda cls, settings_cls, **_: ()),
        },
    )
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = _Parser(prog=prog, usage=f"{prog} [OPTION ...]", description=model.__doc__, allow_abbrev=False)
    beside = _Parser(prog=prog, add_help=False, allow_abbrev=False)
    for flag, text in (flags or {}).items():
        for each in (parser, beside):
            each.add_argument(f"--{flag}", action="store_true", help=text)
    for name, text in (named or {}).items():
        for each in (parser, beside):
            each.add_argument(f"--{name}", metavar=name.upper(), help=text)
    found, arguments = beside.parse_known_args(arguments)
    outside: dict[str, str | None] = {flag: None for flag in flags or {} if getattr(found, flag)}
    outside |= {name: value for name in named or {} if (value := getattr(found, name)) is not None}
    try:
        given = CliSettingsSource(options, cli_parse_args=arguments, root_parser=parser)()
    except ValueError as error:  # pydantic-settings: a value that is not even JSON where JSON is wanted
        raise ConfigurationError(f"{error}. See {prog} --help.") from error
    return configure(model, given), outside


def configure(model: type[S], given: Mapping[str, Any]) -> S:
    """The configuration that `given` makes.

    Raises
    ------
    ConfigurationError
        If an option is unknown or has a wrong value.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise ConfigurationError(_told(error, model)) from error


def _told(error: ValidationError, model: type[Section]) -> str:
    told = []
    for problem in error.errors():
        names = [part for part in problem["loc"] if isinstance(part, str)]
        where = ".".join(names)
        if problem["type"] == "extra_forbidden":
            known = _option_names(model)
            near = get_close_matches(where, known, n=1)
            told.append(f"there is no option {where}" + (f"; did you mean {near[0]}?" if near else ""))
        elif problem["type"] == "value_error":
            told.append(str(problem["ctx"]["error"]))
        else:
            told.append(f"{where}: got {problem['input']!r}; {problem['msg'].removeprefix('Value error, ')}")
    return ". ".join(told)


def _option_names(model: type[Section], prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        names.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            names += _option_names(field.annotation, f"{prefix}{name}.")
    return names
