"""What a run should do: one frozen configuration for each flow, validated when it is read, and the named profiles.

The models' sections, limits and profile values come from the families (`polarity.families`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    WithJsonSchema,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from polarity.config.sections import (
    BehaviourLimits,
    DaskConfig,
    DataConfig,
    EvaluationConfig,
    FaultConfig,
    GateConfig,
    InputConfig,
    PolicyConfig,
    PreparationConfig,
    Range,
    SearchConfig,
    Section,
)
from polarity.errors import ConfigurationError
from polarity.families.protocol import ModelSection
from polarity.families.registry import families, family_of, models

# What the families bring: Prefect's form, the help and the messages list the names.
ModelName = Annotated[str, AfterValidator(lambda name: _one_of(name, models())), WithJsonSchema({"enum": [*models()]})]
FamilyName = Annotated[
    str, AfterValidator(lambda name: _one_of(name, families())), WithJsonSchema({"enum": [*families()]})
]


def _one_of(name: str, known: Iterable[str]) -> str:
    if name not in known:
        raise PydanticCustomError("unknown_name", "{known} are known", {"known": ", ".join(known)})
    return name


def section_name(model: str) -> str:
    """The field of a configuration that holds a model's options."""
    return model.replace("-", "_")


def read_tuned(path: Path) -> dict[str, Any]:
    """What a search wrote down: options by section.

    Raises
    ------
    ConfigurationError
        If there is no such file, or it holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read as the best.json of a search: {error}.") from error
    sections = {section_name(model) for model in models()}
    if not isinstance(found, dict) or not set(found) <= sections:
        raise ConfigurationError(f"{path} is no best.json of a search: it holds other names than {sorted(sections)}.")
    return found


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` in their places, section by section."""
    result = dict(base)
    for name, given in over.items():
        mine = result.get(name)
        value = given.model_dump(exclude_unset=True) if isinstance(given, Section) else given
        result[name] = merged(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return result


class _Tweets(Section):
    """What to learn from."""

    profile: Literal["demo", "standard", "full"] = "standard"
    """`demo` (generated corpus, small models), `standard` (your file), `full` (all of Sentiment140, a GPU)."""
    tuned: Path | None = None
    """A search's `best.json` (`python -m flows.tune`): its options go over the profile's and under those given here."""
    seed: int = 42
    """Seed of every fit."""
    labels: tuple[str, ...] = ("negative", "positive")
    """The class set."""
    models: tuple[ModelName, ...] = Field(
        ("logistic", "bilstm", "distilbert"), description=f"The models to train, of: {', '.join(models())}."
    )
    data: DataConfig = DataConfig()
    gate: GateConfig = GateConfig()
    preparation: PreparationConfig = PreparationConfig()


if TYPE_CHECKING:
    _Models = _Tweets
else:  # a section for each model that a family brings
    _Models = create_model(
        "_Models",
        __base__=_Tweets,
        **{section_name(model): (family.section, family.models()[model]) for model, family in models().items()},
    )


class LearningConfig(_Models):
    """What to learn from, and how each model learns."""

    evaluation: EvaluationConfig = EvaluationConfig()
    faults: FaultConfig = FaultConfig()
    runner: Literal["threads", "dask"] = "threads"
    """Where the fits run: `threads` (on this machine) or `dask` (on Dask workers)."""
    dask: DaskConfig = DaskConfig()

    @model_validator(mode="before")
    @classmethod
    def _over_what_was_found_over_the_profile(cls, given: Any) -> Any:
        """Whatever is not given has the value that a search found, else the profile's, wherever it comes from."""
        if not isinstance(given, Mapping):
            return given
        found = read_tuned(Path(given["tuned"])) if given.get("tuned") else {}
        # what was read is taken over, so that a configuration that is written down needs no other file
        return merged(merged(_profile(str(given.get("profile", "standard"))), found), given) | {"tuned": None}

    @field_validator("labels")
    @classmethod
    def _labels_are_a_set(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(labels) < 2 or len(set(labels)) != len(labels) or not all(label.strip() for label in labels):
            raise ValueError(f"Got labels={list(labels)}; at least two different, non-empty names are needed.")
        return labels

    @field_validator("models")
    @classmethod
    def _models_are_a_set(cls, models: tuple[ModelName, ...]) -> tuple[ModelName, ...]:
        if not models or len(set(models)) != len(models):
            raise ValueError(f"Got models={list(models)}; name at least one, each once.")
        return models

    def section(self, model: str) -> ModelSection:
        """The section of one model."""
        section: ModelSection = getattr(self, section_name(model))
        return section

    def with_options(self, model: str, options: Mapping[str, Any]) -> Self:
        """The same with some options of one model changed.

        Raises
        ------
        ValidationError
            If an option is unknown or has a wrong value.
        """
        section = self.section(model)
        changed = {section_name(model): section.model_validate({**section.model_dump(), **options})}
        return self.model_copy(update=changed)


if TYPE_CHECKING:
    _LimitsByFamily = Section
else:
    _LimitsByFamily = create_model(
        "_LimitsByFamily",
        __base__=Section,
        **{name: (BehaviourLimits, family.behaviour) for name, family in families().items()},
    )


class BehaviourConfig(_LimitsByFamily):
    """Limits of the behaviour tests by family; a candidate below one is not promoted."""

    def limits(self, family: str) -> dict[str, float]:
        """Limits of one family by the name of the test."""
        limits: BehaviourLimits = getattr(self, family)
        return limits.model_dump()


class SelectConfig(PolicyConfig):
    """Which candidate is chosen, and whether it replaces the champion."""

    family: FamilyName | None = None
    """Pin a family: only its candidates are considered."""


class TrainConfig(LearningConfig):
    """Train, compare, choose and package."""

    behaviour: BehaviourConfig = BehaviourConfig()
    select: SelectConfig = SelectConfig()

    @model_validator(mode="after")
    def _pinned_family_is_trained(self) -> Self:
        family = self.select.family
        if family and family not in {family_of(name).name for name in self.models}:
            raise ValueError(f"Got select.family={family!r}, but models={list(self.models)} has none of that family.")
        return self


class TuneConfig(LearningConfig):
    """Search the hyper-parameters of some models, on train and validation alone."""

    models: tuple[ModelName, ...] = Field(
        ("logistic",), description=f"The models to tune, one after another, of: {', '.join(models())}."
    )
    search: SearchConfig = SearchConfig()

    @model_validator(mode="after")
    def _space_is_of_one_model(self) -> Self:
        space = self.search.space
        if space is not None and len(self.models) > 1:
            raise ValueError(f"Got search.space for models={list(self.models)}; a space of your own is for one model.")
        for option, values in (space or {}).items():
            known = sorted(type(self.section(self.models[0])).model_fields)
            if option not in known:
                raise ValueError(f"Got search.space with {option!r}; {self.models[0]} has {known}.")
            for value in [values.low, values.high] if isinstance(values, Range) else values:
                try:
                    self.with_options(self.models[0], {option: value})
                except ValidationError as error:
                    problem = error.errors()[0]["msg"]
                    raise ValueError(
                        f"Got search.space {option}: {value!r} for {self.models[0]}; {problem}."
                    ) from error
        return self


class _OfStoredModel(Section):
    """What is done with a stored model."""

    model: str = "champion"
    """`champion`, the number of a registered version, or a folder with a packaged model."""

    @property
    def model_name(self) -> str:
        """What a run is called by: the model, of a folder the last part."""
        return Path(self.model).name


class EvaluateConfig(_OfStoredModel):
    """Measure a stored model on a labelled file."""

    data: DataConfig = DataConfig()
    seed: int = 42
    """Seed of the bootstrap intervals."""


class ScoreConfig(_OfStoredModel):
    """Score tweets with a stored model, in shards."""

    data: InputConfig = InputConfig()
    output: Path | None = None
    """Folder of the result. Default: one under `runs/`, the same for the same tweets, model and options."""
    keep: tuple[str, ...] = ()
    """Further columns of the input to carry over."""
    shard_rows: int | None = Field(None, ge=1)
    """Tweets a shard: what a kill can lose, what one Parquet file of the result holds at most, and the least that is
    worth another process. Default: by family, some seconds of work."""
    workers: int | None = Field(None, ge=1)
    """Processes of this machine that score side by side. Default: the cores that there are."""
    runner: Literal["threads", "dask"] = "threads"
    """Where the shards are scored: `threads` (in processes of this machine) or `dask` (on Dask workers)."""
    dask: DaskConfig = DaskConfig()


def _profile(name: str) -> dict[str, Any]:
    """What a profile sets: its own options, then those of the families for their models."""
    options: dict[str, Any] = dict(PROFILES.get(name, {}))
    for family in families().values():
        for model, of_model in family.profiles.get(name, {}).items():
            options[section_name(model)] = of_model
    return options


PROFILES: dict[str, dict[str, Any]] = {
    "demo": {"data": {"source": "generated"}, "evaluation": {"train_rows": 1000}},
}
