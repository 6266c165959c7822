"""The reviewed file of alert rules: what is measured, from which value it alarms, and whom to notify."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from polarity.config.sections import Section
from polarity.errors import ConfigurationError

_UNITS = {"s": 1, "min": 60, "h": 3_600, "day": 86_400, "days": 86_400}
_DURATION = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(_UNITS)})")

MeasureName = Literal[
    "answers",
    "answer_share",
    "requests",
    "p95_latency",
    "error_share",
    "refused_share",
    "silence",
    "accuracy",
    "spool_age",
    "record_away",
    "other_model_served",
    "drift",
]
OF_ANSWERS: tuple[MeasureName, ...] = ("answers", "answer_share")
"""Measures of the answers with a label, which can be split by source."""
LOCAL: tuple[MeasureName, ...] = ("spool_age", "record_away")
"""Measures that are read without the database, and whose alerts are kept in the local file."""


def _seconds(value: Any) -> Any:
    if isinstance(value, str):
        if not (found := _DURATION.fullmatch(value.strip())):
            raise ValueError("write a number and s, min, h or days, such as `5 min`")
        return float(found[1]) * _UNITS[found[2]]
    return value


Duration = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]


class Unusual(Section):
    """Alarm if the value is unusual for the hour of the week; evaluated when an hour is over."""

    weeks: int = Field(4, ge=2, le=52)
    """Number of former weeks to compare with."""
    false_alarms_per_year: float = Field(4.0, gt=0)
    """How many to expect if nothing ever changes."""


class BelowReference(Section):
    """Alarm if the accuracy has fallen below that on the model's test tweets, or a given one."""

    reference: float | None = Field(None, gt=0, lt=1)
    """Default: the accuracy on the test tweets, as the served model's card says."""
    margin: float = Field(0.03, ge=0, lt=1)
    """How much lower it may be."""
    labels_between_false_alarms: float = Field(20_000, ge=10)
    """On average at least so many labels lie between two false alarms, however often one looks."""


class Rule(Section):
    """One rule; it has exactly one of `at_least`, `at_most`, `unusual` and `below_reference`."""

    name: str = Field(pattern=r"^\S(.{0,58}\S)?$")
    description: str = ""
    """What it means and where to look; it is part of every message."""
    measure: MeasureName
    label: str | None = None
    """For measures of answers: the sentiment that counts."""
    by_source: bool = False
    """For measures of answers: whether each source (`X-Source`) has an alert of its own."""
    window: Duration = Field(300.0, ge=60)
    """The last part of the record that the value is from."""
    at_least: float | None = None
    """Alarm if the value is at least this."""
    at_most: float | None = None
    """Alarm if the value is at most this."""
    unusual: Unusual | None = None
    below_reference: BelowReference | None = None
    minimum: int = Field(1, ge=0)
    """Fewest answers, requests or labels; with fewer, nothing changes."""
    severity: Literal["info", "warning", "critical"] = "warning"
    cooldown: Duration = 0.0
    """How long after its end it does not fire again."""
    channels: tuple[str, ...] | None = None
    """Names of channels. Default: all."""

    @model_validator(mode="after")
    def _conditions_fit(self) -> Self:
        given = [
            name for name in ("at_least", "at_most", "unusual", "below_reference") if getattr(self, name) is not None
        ]
        if len(given) != 1:
            raise ValueError(
                f"it has {' and '.join(given) or 'no condition'}; exactly one of at_least, at_most, unusual and "
                "below_reference is needed"
            )
        if (self.measure in OF_ANSWERS) != (self.label is not None):
            raise ValueError(f"`label` is needed for the measures {' and '.join(OF_ANSWERS)}, and only for them")
        if self.by_source and self.measure not in OF_ANSWERS:
            raise ValueError(f"`by_source` is only possible for the measures {' and '.join(OF_ANSWERS)}")
        if self.unusual is not None and (self.measure != "answer_share" or self.window != 3_600 or self.by_source):
            raise ValueError("`unusual` needs the measure answer_share of all sources, with a window of 1 h")
        if (self.below_reference is not None) != (self.measure == "accuracy"):
            raise ValueError("`below_reference` belongs to the measure accuracy, which has no other condition")
        return self


class AlertRules(Section):
    """The content of `alerts.yaml`."""

    channels: dict[str, str] = Field(default_factory=dict)
    """Name of a channel -> environment variable with its addresses."""
    rules: tuple[Rule, ...]

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        names = [rule.name for rule in self.rules]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"the name {min(repeated)!r} occurs more than once")
        for rule in self.rules:
            if unknown := set(rule.channels or ()) - set(self.channels):
                raise ValueError(f"the rule {rule.name!r} names the channel {min(unknown)!r}, which is not in channels")
        return self

    def rule(self, name: str) -> Rule:
        """The rule of this name.

        Raises
        ------
        ConfigurationError
            If there is none.
        """
        for rule in self.rules:
            if rule.name == name:
                return rule
        raise ConfigurationError(f"There is no rule {name!r}; there are {', '.join(rule.name for rule in self.rules)}.")

    def addresses(self, rule: Rule | None = None, environment: Mapping[str, str] = os.environ) -> list[tuple[str, str]]:
        """The channels with their addresses, all or those of a rule; a channel without any is absent."""
        return [
            (channel, address)
            for channel, variable in self.channels.items()
            if rule is None or rule.channels is None or channel in rule.channels
            for address in environment.get(variable, "").split()
        ]


def read_rules(path: Path) -> AlertRules:
    """Read and check a file of rules.

    Raises
    ------
    ConfigurationError
        If it cannot be read or is invalid; the message names the rule and the option.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"The rules in '{path}' cannot be read: {error}") from error
    try:
        return AlertRules.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        message = problem["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{path}: {_place(problem['loc'], content)}{message}.") from error


def _place(location: tuple[int | str, ...], content: Any) -> str:
    """Where a problem is, with the name of the rule instead of its number."""
    match location:
        case ("rules", int() as number, *rest):
            try:
                name = content["rules"][number]["name"]
            except (KeyError, TypeError, IndexError):
                name = number + 1
            return f"rule {name!r}: " + "".join(f"{part}: " for part in rest)
        case _:
            return "".join(f"{part}: " for part in location)
