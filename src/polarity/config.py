"""What a run should do: one frozen configuration for each flow, validated at the door, and the named profiles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from polarity.errors import ConfigurationError
from polarity.sections import (
    FAMILY_OF,
    BehaviourConfig,
    BertConfig,
    BilstmConfig,
    DaskConfig,
    DataConfig,
    DistilbertConfig,
    EvaluationConfig,
    FaultConfig,
    GateConfig,
    InputConfig,
    LogisticConfig,
    ModelName,
    PolicyConfig,
    PreparationConfig,
    Range,
    SearchConfig,
    Section,
)


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
    sections = {section_name(model) for model in FAMILY_OF}
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


class LearningConfig(Section):
    """What to learn from, and how each model learns."""

    profile: Literal["demo", "standard", "full"] = "standard"
    """`demo` (generated corpus, small models), `standard` (your file), `full` (all of Sentiment140, a GPU)."""
    tuned: Path | None = None
    """A search's `best.json` (`python -m flows.tune`): its options go over the profile's and under those given here."""
    seed: int = 42
    """Seed of every fit."""
    labels: tuple[str, ...] = ("negative", "positive")
    """The class set."""
    models: tuple[ModelName, ...] = ("logistic", "bilstm", "distilbert")
    """The models to train."""
    data: DataConfig = DataConfig()
    gate: GateConfig = GateConfig()
    preparation: PreparationConfig = PreparationConfig()
    logistic: LogisticConfig = LogisticConfig()
    bilstm: BilstmConfig = BilstmConfig()
    bilstm_word2vec: BilstmConfig = BilstmConfig(vectors="word2vec")
    distilbert: DistilbertConfig = DistilbertConfig()
    bert: BertConfig = BertConfig()
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
        return merged(merged(PROFILES.get(str(given.get("profile", "standard")), {}), found), given) | {"tuned": None}

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

    def section(self, model: ModelName) -> LogisticConfig | BilstmConfig | DistilbertConfig | BertConfig:
        """The section of one model."""
        section: LogisticConfig | BilstmConfig | DistilbertConfig | BertConfig = getattr(self, section_name(model))
        return section

    def with_options(self, model: ModelName, options: Mapping[str, Any]) -> Self:
        """The same with some options of one model changed.

        Raises
        ------
        ValidationError
            If an option is unknown or has a wrong value.
        """
        section = self.section(model)
        changed = {section_name(model): section.model_validate({**section.model_dump(), **options})}
        return self.model_copy(update=changed)


class TrainConfig(LearningConfig):
    """Train, compare, choose and package."""

    behaviour: BehaviourConfig = BehaviourConfig()
    select: PolicyConfig = PolicyConfig()

    @model_validator(mode="after")
    def _pinned_family_is_trained(self) -> Self:
        family = self.select.family
        if family and family not in {FAMILY_OF[name] for name in self.models}:
            raise ValueError(f"Got select.family={family!r}, but models={list(self.models)} has none of that family.")
        return self


class TuneConfig(LearningConfig):
    """Search the hyper-parameters of some models, on train and validation alone."""

    models: tuple[ModelName, ...] = ("logistic",)
    """The models to tune, one after another."""
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
    worth another process. Default: 20,000 for the logistic regression, 2,000 for a neural model."""
    workers: int | None = Field(None, ge=1)
    """Processes of this machine that score side by side. Default: the cores that there are."""
    runner: Literal["threads", "dask"] = "threads"
    """Where the shards are scored: `threads` (in processes of this machine) or `dask` (on Dask workers)."""
    dask: DaskConfig = DaskConfig()


PROFILES: dict[str, dict[str, Any]] = {
    "demo": {
        "data": {"source": "generated"},
        "evaluation": {"train_rows": 1000},
        "bilstm": {"units": 32, "vector_size": 50, "epochs": 8, "batch_size": 32},
        "distilbert": {"train_rows": 1500, "max_tokens": 32},
    },
    "standard": {
        "distilbert": {"train_rows": 20_000},
    },
    "full": {
        "bilstm": {"vectors": "glove.twitter.27B.200d.txt", "units": 128, "batch_size": 512, "max_vocabulary": 100_000},
        "distilbert": {"encoder": "distilbert-base-uncased", "learning_rate": 5e-5, "batch_size": 128, "epochs": 2},
        "bert": {"encoder": "bert-base-uncased", "learning_rate": 5e-5, "batch_size": 128, "epochs": 2},
    },
}
