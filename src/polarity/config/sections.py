"""The sections of a configuration: what one step of a flow depends on.

A change of one option makes only the steps that read its section run again. The sections of the models are in the
modules of their families.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """A frozen part of the configuration that refuses options it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


class DataConfig(Section):
    """Where the labelled tweets come from and how to read them."""

    source: Literal["file", "generated"] = "file"
    """`file` reads `path`; `generated` writes the project's own corpus."""
    path: Path | None = None
    """CSV, TSV, JSON, JSON lines or Parquet; plain, or compressed by gzip, bzip2, xz, zstd or zip."""
    text_column: str | None = None
    """Column of the text; of JSON, nested fields have dotted names. Default: `text`, `tweet` or another usual name."""
    label_column: str | None = None
    """Column of the label. Default: `label`, `sentiment` or another usual name, whichever is there."""
    label_map: dict[str, str] | None = None
    """From the file's label to the project's, e.g. '{"0": "negative"}'. Default: usual names in six languages, and
    number codes if only one reading fits the values of the column."""
    ignore_labels: tuple[str, ...] = ()
    """Labels of the file whose rows are left out on purpose, e.g. `irrelevant`."""
    encoding: str | None = None
    """Default: judged by the content."""
    separator: str | None = None
    """Default: judged by the content."""
    quoting: bool | None = None
    """Whether fields may be quoted; without it, surplus separators belong to the last column. Default: judged by the
    content."""
    header: Literal["auto", "none"] = "auto"
    """`none`: the first line is a record, and the columns are called column_1, column_2 …"""
    limit: int | None = Field(None, ge=1)
    """Read at most so many rows, spread evenly over the file."""
    rows: int = Field(6000, ge=200)
    """Size of the generated corpus."""
    seed: int = 7
    """Seed of the generated corpus."""


class GateConfig(Section):
    """Limits of the aggregate checks; a set outside them stops the flow before any training."""

    max_bad_share: float = Field(0.05, ge=0, le=1)
    """Largest share of rows that may be quarantined."""
    max_duplicate_share: float = Field(0.2, ge=0, le=1)
    """Largest share of rows that repeat an earlier text."""
    min_class_share: float = Field(0.05, ge=0, le=1)
    """Smallest share of the rarest class."""
    max_mojibake_share: float = Field(0.05, ge=0, le=1)
    """Largest share of rows with signs of a wrong encoding."""
    min_rows: int = Field(200, ge=1)
    """Fewest rows to learn from."""
    max_length: int = Field(1000, ge=1)
    """Longest text in characters; entities and mojibake make real tweets longer than 140 or 280."""


class PreparationConfig(Section):
    """How accepted tweets become splits."""

    test_share: float = Field(0.2, gt=0, lt=0.5)
    """Share of distinct texts in the test split, chosen by a hash of the normalised text."""
    validation_share: float = Field(0.1, gt=0, lt=0.5)
    """Share of distinct texts in the validation split."""
    salt: str = "polarity"
    """Changing the salt changes the split."""


class EvaluationConfig(Section):
    """How candidates are measured."""

    train_rows: int = Field(10_000, ge=1)
    """Rows of the training split on which the train figures are measured."""
    seeds: int = Field(0, ge=0)
    """Fit each model that depends on a seed with so many of them, to show how far chance alone moves its figures."""
    seed_rows: int = Field(10_000, ge=100)
    """Training rows of each of those fits."""


class Range(Section):
    """Numbers between two bounds."""

    low: float
    """The smallest."""
    high: float
    """The largest."""
    log: bool = False
    """Search the exponent evenly, not the number."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"Got low={self.low:g} and high={self.high:g}; low is below high, and above 0 with log.")
        return self


class PolicyConfig(Section):
    """Which candidate is chosen, and whether it replaces the champion."""

    family: str | None = None
    """Pin a family: only its candidates are considered."""
    max_latency_ms: float = Field(250.0, gt=0)
    """Largest p95 latency of one text, in process."""
    max_size_mb: float = Field(600.0, gt=0)
    """Largest packaged model."""
    margin: float = Field(0.005, ge=0)
    """Non-inferiority margin of test macro-F1 against the champion."""
    resamples: int = Field(1000, ge=100)
    """Resamples of the paired bootstrap."""


class BehaviourLimits(Section):
    """Smallest share of each behaviour test's sentences that must be answered as expected.

    The defaults let through a small, honest model and stop a broken one.
    """

    plain_positive: float = Field(0.3, ge=0, le=1)
    """Plain praise is positive."""
    plain_negative: float = Field(0.3, ge=0, le=1)
    """Plain complaint is negative."""
    negated: float = Field(0.1, ge=0, le=1)
    """Praise that is denied is not positive."""
    names: float = Field(0.85, ge=0, le=1)
    """Another first name changes nothing."""
    links: float = Field(0.6, ge=0, le=1)
    """A link at the end changes nothing."""
    mentions: float = Field(0.6, ge=0, le=1)
    """Writing to somebody changes nothing."""
    typos: float = Field(0.7, ge=0, le=1)
    """Two swapped letters change nothing."""
    hashtag_case: float = Field(0.8, ge=0, le=1)
    """Capitals in a hashtag change nothing."""
    added_not: float = Field(0.6, ge=0, le=1)
    """An added "not" lowers praise."""
    added_praise: float = Field(0.75, ge=0, le=1)
    """Added praise does not lower the score."""


class FaultConfig(Section):
    """Timeouts and retries."""

    fit_timeout_s: float = Field(4 * 3600, gt=0)
    """Seconds after which a fit's process is killed."""
    step_timeout_s: float = Field(4 * 3600, gt=0)
    """Seconds after which any other step is given up."""
    retries: int = Field(2, ge=0)
    """Retries of a step whose error is worth one."""
    retry_delay_s: float = Field(2.0, ge=0)
    """First delay; later ones grow exponentially, with jitter."""


class DaskConfig(Section):
    """Dask workers, on this machine or on others."""

    address: str | None = None
    """Address of a scheduler, e.g. `tcp://10.0.0.5:8786`. Default: workers of the run's own on this machine's cores."""


class SearchConfig(Section):
    """How hyper-parameters are searched."""

    trials: int = Field(20, ge=1)
    """Trials a model, those of an earlier, unfinished search counted; the logistic regression tries its whole grid."""
    workers: int = Field(2, ge=1)
    """Trials side by side."""
    prune: bool = True
    """Stop a trial whose validation loss after an epoch is above the median of the earlier ones."""
    space: dict[str, list[Any] | Range] | None = None
    """What to search: option -> list of values, or '{"low": 1e-4, "high": 1e-2, "log": true}'. Default: by family."""


class InputConfig(Section):
    """Where the tweets to score come from and how to read them; a label is not needed."""

    path: Path | None = None
    """CSV, TSV, JSON, JSON lines or Parquet, plain or compressed, or a folder of such files."""
    text_column: str | None = None
    """Column of the text; of JSON, nested fields have dotted names. Default: `text`, `tweet` or another usual name."""
    id_column: str | None = None
    """Column that identifies a tweet. Default: `id`, `tweet_id`, `tweetid` or `textid`, if there is one."""
    date_column: str | None = None
    """Column of the date. Default: `date`, `created_at`, `tweetdate`, `timestamp` or `time`, if there is one."""
    encoding: str | None = None
    """Default: judged by the content."""
    separator: str | None = None
    """Default: judged by the content."""
    quoting: bool | None = None
    """Whether fields may be quoted; without it, surplus separators belong to the last column. Default: judged by the
    content."""
    header: Literal["auto", "none"] = "auto"
    """`none`: the first line is a record, and the columns are called column_1, column_2 …"""
