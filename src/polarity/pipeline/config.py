"""One frozen configuration for each flow, validated when it is read, and the named profiles.

The models' sections, limits and profile values come from the families (`polarity.families`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
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
    CardConfig,
    CollectedFilesConfig,
    DaskConfig,
    DataConfig,
    EvaluationConfig,
    FaultConfig,
    GateConfig,
    InputConfig,
    LabelFileConfig,
    PolicyConfig,
    PreparationConfig,
    Range,
    RetrainConfig,
    SearchConfig,
    Section,
    WatchConfig,
    last_name,
)
from polarity.config.settings import PROJECT
from polarity.errors import ConfigurationError
from polarity.evaluation.sentences import languages
from polarity.families.protocol import ModelSection, section_name
from polarity.families.registry import families, family_of, models

DEFAULT_TASK = "sentiment"
DEMO_TASK = "demo"

# Names provided by the families; Prefect's form, the help and the error messages list them.
ModelName = Annotated[str, AfterValidator(lambda name: _one_of(name, models())), WithJsonSchema({"enum": [*models()]})]
FamilyName = Annotated[
    str, AfterValidator(lambda name: _one_of(name, families())), WithJsonSchema({"enum": [*families()]})
]


def _one_of(name: str, known: Iterable[str]) -> str:
    if name not in known:
        raise PydanticCustomError("unknown_name", "must be one of {known}", {"known": ", ".join(known)})
    return name


def read_tuned(path: Path) -> dict[str, Any]:
    """Read the `best.json` of a search: options by section.

    Raises
    ------
    ConfigurationError
        If the file does not exist or has different content.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read as a search's best.json: {error}.") from error
    sections = {section_name(model) for model in models()}
    if not isinstance(found, dict) or not set(found) <= sections:
        raise ConfigurationError(
            f"{path} is not a search's best.json: it contains names other than {sorted(sections)}."
        )
    return found


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` overridden by the values of `over`, section by section."""
    result = dict(base)
    for name, given in over.items():
        mine = result.get(name)
        value = given.model_dump(exclude_unset=True) if isinstance(given, Section) else given
        result[name] = merged(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return result


class _DataOptions(Section):
    """The data to train on, and the models to train."""

    profile: Literal["demo", "standard", "full"] = "standard"
    """`demo` (generated corpus, small models), `standard` (your own file) or `full` (all of Sentiment140, on a GPU)."""
    tuned: Path | None = None
    """A search's `best.json` (`python -m flows.tune`); it overrides the profile, and explicit options override it."""
    seed: int = 42
    """Random seed of every fit."""
    labels: tuple[str, ...] = ("negative", "positive")
    """The set of class labels."""
    models: tuple[ModelName, ...] = Field(
        ("logistic", "bilstm", "distilbert"), description=f"Models to train, from: {', '.join(models())}."
    )
    data: DataConfig = DataConfig()
    gate: GateConfig = GateConfig()
    preparation: PreparationConfig = PreparationConfig()


if TYPE_CHECKING:
    _Models = _DataOptions
else:  # one section per model of each family
    _Models = create_model(
        "_Models",
        __base__=_DataOptions,
        **{section_name(model): (family.section, family.models()[model]) for model, family in models().items()},
    )


class LearningConfig(_Models):
    """The data to train on, and the options of each model."""

    pins: dict[ModelName, dict[str, str]] = Field(default_factory=dict)
    """Digests that the files of encoders and word vectors must have, by model and option:
    `{"bilstm": {"vectors": "3f2a..."}}`. The dossier of a model has those of its own. Default: any file is taken."""
    evaluation: EvaluationConfig = EvaluationConfig()
    faults: FaultConfig = FaultConfig()
    runner: Literal["threads", "dask"] = "threads"
    """Where fits run: `threads` (on this machine) or `dask` (on Dask workers)."""
    dask: DaskConfig = DaskConfig()

    @model_validator(mode="before")
    @classmethod
    def _apply_tuned_options_and_profile(cls, given: Any) -> Any:
        """Fill in options that are not given from the search's result, then from the profile."""
        if not isinstance(given, Mapping):
            return given
        found = read_tuned(Path(given["tuned"])) if given.get("tuned") else {}
        # its values are copied, so that a saved configuration does not depend on the file
        return merged(merged(_profile(str(given.get("profile", "standard"))), found), given) | {"tuned": None}

    @field_validator("labels")
    @classmethod
    def _labels_are_a_set(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(labels) < 2 or len(set(labels)) != len(labels) or not all(label.strip() for label in labels):
            raise ValueError(f"Got labels={list(labels)}; it must contain at least two distinct, non-empty names.")
        return labels

    @field_validator("models")
    @classmethod
    def _models_are_a_set(cls, models: tuple[ModelName, ...]) -> tuple[ModelName, ...]:
        if not models or len(set(models)) != len(models):
            raise ValueError(f"Got models={list(models)}; it must name at least one model, each only once.")
        return models

    def section(self, model: str) -> ModelSection:
        """The options of one model."""
        section: ModelSection = getattr(self, section_name(model))
        return section

    def with_options(self, model: str, options: Mapping[str, Any]) -> Self:
        """A copy with some options of one model changed.

        Raises
        ------
        ValidationError
            If an option is unknown or its value is invalid.
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


_GUESSED = "`auto` guesses it from the tweets, `none` runs only the tests that are made of them"


class BehaviourConfig(_LimitsByFamily):
    """The behaviour tests: their sentences, and their limits by family; a candidate below any limit is not promoted."""

    language: str = Field("auto", description=f"Language of the sentences: {', '.join(languages())}; {_GUESSED}.")
    path: Path | None = None
    """A file of your own sentences, of the form of those in expectations/behaviour, used instead of a language's."""

    @field_validator("language")
    @classmethod
    def _language_is_known(cls, language: str) -> str:
        known = ("auto", "none", *languages())
        if language not in known:
            raise PydanticCustomError("unknown_language", "must be one of {known}", {"known": ", ".join(known)})
        return language

    def limits(self, family: str) -> dict[str, float]:
        """The limits of one family, by test name."""
        limits: BehaviourLimits = getattr(self, family)
        return limits.model_dump()


class SelectConfig(PolicyConfig):
    """How a candidate is selected, and when it replaces the champion."""

    family: FamilyName | None = None
    """Restrict selection to one family."""
    canary: bool = False
    """A candidate that would replace the champion becomes it only after it has passed as a canary. Its Bento is kept
    for that and named by an event `polarity.candidate`: serve it, and name it with `python -m polarity challenge`."""


class TrainConfig(LearningConfig):
    """Train, compare, select and package models."""

    task: str | None = Field(None, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    """What the champion is champion of; candidates meet only the champion of their own task. Default: `sentiment`, and
    `demo` for the generated corpus."""
    line: str | None = None
    """Name of the line of data; a champion is not replaced by a model of another line. Default: the file without the
    numbers and dates in its name. Data that contains at least half of what the champion learned from is of its line."""
    promote: bool = False
    """Promote the selected model whatever the comparison with the champion says, also after a rollback from it."""
    behaviour: BehaviourConfig = BehaviourConfig()
    select: SelectConfig = SelectConfig()
    watch: WatchConfig = WatchConfig()
    card: CardConfig = CardConfig()
    retrain: RetrainConfig = RetrainConfig()

    @property
    def task_name(self) -> str:
        """The task, also if none is given."""
        return self.task or (DEMO_TASK if self.data.source == "generated" else DEFAULT_TASK)

    @model_validator(mode="after")
    def _pinned_family_is_trained(self) -> Self:
        family = self.select.family
        if family and family not in {family_of(name).name for name in self.models}:
            raise ValueError(
                f"Got select.family={family!r}, but models={list(self.models)} contains no model of that family."
            )
        return self


class TuneConfig(LearningConfig):
    """Search the hyper-parameters of some models, using only train and validation."""

    models: tuple[ModelName, ...] = Field(
        ("logistic",), description=f"Models to tune, one after another, from: {', '.join(models())}."
    )
    search: SearchConfig = SearchConfig()

    @model_validator(mode="after")
    def _space_is_of_one_model(self) -> Self:
        space = self.search.space
        if space is not None and len(self.models) > 1:
            raise ValueError(
                f"Got search.space for models={list(self.models)}; a custom space needs exactly one model."
            )
        for option, values in (space or {}).items():
            known = sorted(type(self.section(self.models[0])).model_fields)
            if option not in known:
                raise ValueError(f"Got search.space with {option!r}; the options of {self.models[0]} are {known}.")
            for value in [values.low, values.high] if isinstance(values, Range) else values:
                try:
                    self.with_options(self.models[0], {option: value})
                except ValidationError as error:
                    problem = error.errors()[0]["msg"]
                    raise ValueError(
                        f"Got search.space {option}: {value!r} for {self.models[0]}; {problem}."
                    ) from error
        return self


class _StoredModelOptions(Section):
    """The stored model to use."""

    model: str = "champion"
    """`champion`, the number of a registered version, the folder of a packaged model, or a Bento (folder or tag)."""
    task: str | None = None
    """The task whose champion or version it is. Default: the task that `sentiment:latest` serves."""

    @property
    def model_name(self) -> str:
        """The model's name for use in a run's name: for a folder, its last part."""
        return Path(self.model).name


class EvaluateConfig(_StoredModelOptions):
    """Evaluate a stored model on a labelled file."""

    data: DataConfig = DataConfig()
    seed: int = 42
    """Seed of the bootstrap intervals."""
    max_bad_share: float = Field(0.05, ge=0, le=1)
    """Largest share of rows that may lack a text or a label of the model's classes."""


class FeedbackConfig(Section):
    """Import true labels of recorded predictions from a file."""

    data: LabelFileConfig = LabelFileConfig()
    labels: tuple[str, ...] = ()
    """Class set. Default: that of the latest recorded prediction."""
    review: bool = False
    """The labels are those of answers that were drawn for review (`GET /review`), all of which the labeller was asked
    for; they count for the accuracy. Labels that users chose to report do not."""

    @property
    def file_name(self) -> str:
        """The file's name for use in a run's name."""
        return last_name(self.data.path) or "no file"


class CollectConfig(Section):
    """Collect tweets from new files for the next training."""

    data: CollectedFilesConfig = CollectedFilesConfig()
    labels: tuple[str, ...] = ("negative", "positive")
    """The set of class labels."""
    gate: GateConfig = GateConfig()


class CanaryConfig(Section):
    """What a challenger must keep to while it answers clients."""

    covered: float = Field(0.02, ge=0, lt=1)
    """Largest share of its requests that the champion had to answer, because the challenger failed or was late."""
    p99_s: float = Field(0.5, gt=0)
    """Largest 99th percentile of its durations, in seconds."""
    agreement: float = Field(0.8, gt=0, le=1)
    """Smallest share of mirrored texts that both models answer alike."""
    requests: int = Field(100, ge=1)
    """Requests that a step takes at least; before the first step, mirrored texts."""
    step_s: float = Field(600, ge=0)
    """Duration of a step at least, in seconds."""
    unproven: float = Field(0.05, ge=0, le=1)
    """Largest share of the clients before labels show that the challenger is better."""
    last_steps: int = Field(3, ge=1)
    """How many times `step_s` the challenger answers all clients before it has passed."""


class MonitorConfig(Section):
    """Evaluate the alert rules once, move the canary, and send the notifications that are due."""

    rules: Path = PROJECT / "alerts.yaml"
    """The reviewed file of rules and channels."""
    test_alert: str | None = Field(None, validation_alias=AliasChoices("test_alert", "test-alert"))
    """Name of a rule: send a trial message to its channels, and do nothing else."""
    canary: CanaryConfig = CanaryConfig()


class ScoreConfig(_StoredModelOptions):
    """Score tweets with a stored model, in shards."""

    data: InputConfig = InputConfig()
    output: Path | None = None
    """Output folder. Default: a folder under `runs/` determined by the tweets, the model and the options."""
    keep: tuple[str, ...] = ()
    """Additional input columns to copy to the result."""
    shard_rows: int | None = Field(None, ge=1)
    """Tweets per shard, which is one Parquet file of the result and the unit of work lost to a kill. A file with no
    more tweets than this uses a single process. Default: by family, a few seconds of work."""
    workers: int | None = Field(None, ge=1)
    """Number of scoring processes on this machine. Default: the number of available cores."""
    runner: Literal["threads", "dask"] = "threads"
    """Where shards are scored: `threads` (processes on this machine) or `dask` (on Dask workers)."""
    dask: DaskConfig = DaskConfig()


def _profile(name: str) -> dict[str, Any]:
    """The options set by a profile, including those that the families set for their models.

    A model's own options come first, so that changing one of them keeps the others.
    """
    options: dict[str, Any] = {
        section_name(model): family.models()[model].model_dump(exclude_unset=True) for model, family in models().items()
    }
    options = merged(options, PROFILES.get(name, {}))
    for family in families().values():
        of_models = family.profiles.get(name, {})
        options = merged(options, {section_name(model): given for model, given in of_models.items()})
    return options


PROFILES: dict[str, dict[str, Any]] = {
    "demo": {"data": {"source": "generated"}, "evaluation": {"train_rows": 300}},
}
