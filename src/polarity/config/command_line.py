"""Parse the command line into a configuration: every option of the model has a dotted name."""

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
    """An argument parser whose errors are one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            wrong = unknown.split()[0].split("=")[0]
            known = [option for action in self._actions for option in action.option_strings]
            near = get_close_matches(wrong, known, n=1)
            message = f"there is no option {wrong}" + (f"; did you mean {near[0]}?" if near else "")
        raise ConfigurationError(f"{message.rstrip('.')}{'' if message.endswith('?') else '.'} See {self.prog} --help.")


def parse_options(
    model: type[S],
    arguments: Sequence[str] | None = None,
    *,
    prog: str,
    flags: Mapping[str, str] | None = None,
    named: Mapping[str, str] | None = None,
) -> tuple[S, dict[str, str | None]]:
    """Parse a configuration from the command line, based on the defaults of the selected profile.

    Parameters
    ----------
    model : type
        The configuration model; its docstrings are the help texts.
    arguments : sequence of str, optional
        Default: the arguments of the process.
    prog : str
        Name of the command.
    flags : mapping, optional
        Help text by name (without dashes) of switches outside the configuration.
    named : mapping, optional
        Help text by name of options outside the configuration that take a value.

    Returns
    -------
    configuration, and the given flags and named options with their value (`None` for a flag)

    Raises
    ------
    ConfigurationError
        If an option is unknown or has an invalid value; the message names it.
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
    outside_parser = _Parser(prog=prog, add_help=False, allow_abbrev=False)
    for flag, text in (flags or {}).items():
        for each in (parser, outside_parser):
            each.add_argument(f"--{flag}", action="store_true", help=text)
    for name, text in (named or {}).items():
        for each in (parser, outside_parser):
            each.add_argument(f"--{name}", metavar=name.upper(), help=text)
    found, arguments = outside_parser.parse_known_args(arguments)
    outside: dict[str, str | None] = {flag: None for flag in flags or {} if getattr(found, flag)}
    outside |= {name: value for name in named or {} if (value := getattr(found, name)) is not None}
    try:
        given = CliSettingsSource(options, cli_parse_args=arguments, root_parser=parser)()
    except ValueError as error:  # pydantic-settings: a value that must be JSON but is not
        raise ConfigurationError(f"{error}. See {prog} --help.") from error
    return configure(model, given), outside


def configure(model: type[S], given: Mapping[str, Any]) -> S:
    """Validate `given` and return the configuration.

    Raises
    ------
    ConfigurationError
        If an option is unknown or has an invalid value.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise ConfigurationError(_validation_message(error, model)) from error


def _validation_message(error: ValidationError, model: type[Section]) -> str:
    messages = []
    for problem in error.errors():
        names = [part for part in problem["loc"] if isinstance(part, str)]
        where = ".".join(names)
        if problem["type"] == "extra_forbidden":
            known = _option_names(model)
            near = get_close_matches(where, known, n=1)
            messages.append(f"there is no option {where}" + (f"; did you mean {near[0]}?" if near else ""))
        elif problem["type"] == "value_error":
            messages.append(str(problem["ctx"]["error"]))
        else:
            messages.append(f"{where}: got {problem['input']!r}; {problem['msg'].removeprefix('Value error, ')}")
    return ". ".join(messages)


def _option_names(model: type[Section], prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        names.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            names += _option_names(field.annotation, f"{prefix}{name}.")
    return names
