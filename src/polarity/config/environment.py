"""Options read from the environment variables POLARITY_<NAME>."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from polarity.errors import ConfigurationError

PREFIX = "POLARITY_"

S = TypeVar("S", bound=msgspec.Struct)


def read_options(kind: type[S], environment: Mapping[str, str] = os.environ) -> S:
    """Read the fields of `kind` from `environment`; unset and empty variables leave the defaults.

    Raises
    ------
    ConfigurationError
        If a value is invalid.
    """
    given = {
        name: environment[variable]
        for name in kind.__struct_fields__
        if environment.get(variable := PREFIX + name.upper())
    }
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        reason, _, field = str(error).partition(" - at `$.")
        name = field.rstrip("`")
        raise ConfigurationError(f"Got {PREFIX}{name.upper()}={given.get(name)!r}: {reason}.") from error
