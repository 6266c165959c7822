"""The available families: the built-in ones, and those of other packages (entry points, `polarity.families`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from polarity.errors import ArtifactError
from polarity.families.protocol import Family, ModelSection

GROUP = "polarity.families"

AnyFamily = Family[Any]

# A family's module is imported on demand, so that a server loads only the one it needs.
_BUILT_IN = {
    "logistic": "polarity.families.logistic:Logistic",
    "bilstm": "polarity.families.bilstm:Bilstm",
    "distilbert": "polarity.families.transformer:Distilbert",
    "bert": "polarity.families.transformer:Bert",
    "roberta": "polarity.families.transformer:Roberta",
}

_logger = logging.getLogger(__name__)


@cache
def families() -> Mapping[str, AnyFamily]:
    """All families by name, built-in ones first. External families that cannot be loaded are left out."""
    found = {name: family_named(name) for name in _BUILT_IN}
    for name, entry in sorted(_entry_points().items()):
        try:
            found[name] = family_named(name)
        except ArtifactError as error:
            _logger.warning("%s Its models are left out; fix or uninstall %s.", error, _package_of(entry))
    return MappingProxyType(found)


@cache
def family_named(name: str) -> AnyFamily:
    """The family with this name.

    Raises
    ------
    ArtifactError
        If it does not exist or its module cannot be imported.
    """
    if target := _BUILT_IN.get(name):
        module, _, attribute = target.partition(":")
        built_in: AnyFamily = getattr(import_module(module), attribute)()
        return built_in
    entry = _entry_points().get(name)
    if entry is None:
        raise ArtifactError(
            f"There is no family {name!r}. Available are {', '.join([*_BUILT_IN, *_entry_points()])}; install the "
            f"package that provides it (entry point {GROUP})."
        )
    try:
        family: AnyFamily = entry.load()()
        # report missing attributes here, not where they are first needed
        if family.name != name or not issubclass(family.section, ModelSection) or not family.models():
            raise TypeError(f"it must be a Family named {name!r} with a section and at least one model")
    except Exception as error:
        raise ArtifactError(
            f"The family {name!r} of {_package_of(entry)} cannot be loaded from {entry.value}: {error!r}."
        ) from error
    return family


@cache
def models() -> Mapping[str, AnyFamily]:
    """The family of every trainable model, by model name."""
    found: dict[str, AnyFamily] = {}
    for family in families().values():
        for model in family.models():
            if model in found:
                _logger.warning("%s provides a model %r that %s already has; it is left out.", family.name, model,
                                found[model].name)  # fmt: skip
                continue
            found[model] = family
    return MappingProxyType(found)


def family_of(model: str) -> AnyFamily:
    """The family of a trainable model, by model name."""
    return models()[model]


def distribution_of(family: AnyFamily) -> EntryPoint | None:
    """The entry point of an external family; None for a built-in family."""
    return None if family.name in _BUILT_IN else _entry_points()[family.name]


@cache
def _entry_points() -> Mapping[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in _BUILT_IN}


def _package_of(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value
