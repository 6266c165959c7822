"""The sections of a configuration: the options that one step of a flow depends on.

Changing an option reruns only the steps that read its section. The sections of the models are in the modules of their
families.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """A frozen part of the configuration that rejects unknown options."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


class DataConfig(Section):
    """Where the labelled tweets come from and how to read them."""

    source: Literal["file", "generated"] = "file"
    """`file` reads `path`; `generated` uses the project's synthetic corpus."""
    path: Path | None = None
    """CSV, TSV, JSON, JSON lines, Parquet or Excel (.xlsx); plain, or compressed with gzip, bzip2, xz, zstd or zip."""
    text_column: str | None = None
    """Text column; nested JSON fields have dotted names. Default: `text`, `tweet` or another common name."""
    label_column: str | None = None
    """Column of the label. Default: `label`, `sentiment` or another common name."""
    label_map: dict[str, str] | None = None
    """Map from the file's labels to ours, e.g. '{"0": "negative"}'. Default: common names in six languages, and
    numeric codes if the values of the column are unambiguous."""
    ignore_labels: tuple[str, ...] = ()
    """Labels of the file whose rows are excluded, e.g. `irrelevant`."""
    encoding: str | None = None
    """Encoding of the file, e.g. `cp1252`. Default: detected from the content."""
    separator: str | None = None
    """Separator of the columns, one character. Default: detected from the content."""
    quoting: bool | None = None
    """Whether fields may be quoted; if not, extra separators belong to the last column. Default: detected from the
    content."""
    header: Literal["auto", "none"] = "auto"
    """`none`: the first line is a record, and the columns are named column_1, column_2 …"""
    limit: int | None = Field(None, ge=1)
    """Maximum number of rows to read, spread evenly over the file."""
    rows: int = Field(6000, ge=200)
    """Number of rows of the generated corpus."""
    seed: int = 7
    """Seed of the generated corpus."""


class GateConfig(Section):
    """Limits of the aggregate checks; a data set that exceeds one stops the flow before training."""

    max_bad_share: float = Field(0.05, ge=0, le=1)
    """Maximum share of quarantined rows."""
    max_duplicate_share: float = Field(0.2, ge=0, le=1)
    """Maximum share of rows that repeat an earlier text."""
    min_class_share: float = Field(0.05, ge=0, le=1)
    """Minimum share of the rarest class."""
    max_mojibake_share: float = Field(0.05, ge=0, le=1)
    """Maximum share of rows that appear wrongly encoded."""
    min_rows: int = Field(200, ge=1)
    """Minimum number of rows for training."""
    max_length: int = Field(1000, ge=1)
    """Maximum length of a text in characters; entities and mojibake make real tweets longer than 140 or 280."""


class PreparationConfig(Section):
    """How accepted tweets are split."""

    test_share: float = Field(0.2, gt=0, lt=0.5)
    """Share of distinct texts in the test split, chosen by a hash of the normalised text."""
    validation_share: float = Field(0.1, gt=0, lt=0.5)
    """Share of distinct texts in the validation split."""
    salt: str = "polarity"
    """Changing the salt changes the split."""


class EvaluationConfig(Section):
    """How candidates are evaluated."""

    train_rows: int = Field(10_000, ge=1)
    """Maximum number of the tweets that a model was fitted on, drawn at random, on which its training metrics are
    measured."""
    seeds: int = Field(0, ge=0)
    """Number of seeds with which to fit each seeded model, to show how much its metrics vary by chance."""
    seed_rows: int = Field(10_000, ge=100)
    """Training rows for each of these fits."""


class Range(Section):
    """A range of numbers."""

    low: float
    """Lower bound."""
    high: float
    """Upper bound."""
    log: bool = False
    """Search on a logarithmic scale."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(
                f"Got low={self.low:g} and high={self.high:g}; low must be below high, and above 0 if log is set."
            )
        return self


class PolicyConfig(Section):
    """Which candidate is selected, and whether it replaces the champion."""

    family: str | None = None
    """Consider only candidates of this family."""
    max_latency_ms: float = Field(250.0, gt=0)
    """Maximum in-process p95 latency of one text, in milliseconds."""
    max_size_mb: float = Field(600.0, gt=0)
    """Maximum size of a packaged model, in MB."""
    equivalence: float = Field(0.01, ge=0)
    """Equivalence margin of validation macro-F1: a cheaper candidate is taken if it is shown to be no further than this
    behind the best."""
    margin: float = Field(0.005, ge=0)
    """Non-inferiority margin of test macro-F1 against the champion, and against the best former champion since the last
    superior promotion."""
    error: float = Field(0.05, gt=0, lt=0.5)
    """Probability that any of all decisions on the same test set, or against the same reference, promotes a model that
    is worse than the margin allows; each decision gets a part of it."""
    min_test_rows: int = Field(100, ge=1)
    """Minimum number of test tweets left for a comparison after those that the champion learned from are left out."""
    resamples: int = Field(1000, ge=100)
    """Number of resamples of the paired bootstrap."""


class BehaviourLimits(Section):
    """Minimum pass rate of each behaviour test.

    The defaults accept a small but sound model and reject a broken one.
    """

    plain_positive: float = Field(0.3, ge=0, le=1)
    """Plain praise is positive."""
    plain_negative: float = Field(0.3, ge=0, le=1)
    """A plain complaint is negative."""
    negated: float = Field(0.1, ge=0, le=1)
    """Negated praise is not positive."""
    names: float = Field(0.85, ge=0, le=1)
    """A different first name does not change the answer."""
    links: float = Field(0.6, ge=0, le=1)
    """A link at the end does not change the answer."""
    mentions: float = Field(0.6, ge=0, le=1)
    """A leading mention does not change the answer."""
    typos: float = Field(0.7, ge=0, le=1)
    """A typo in a word without weight does not change the answer."""
    hashtag_case: float = Field(0.8, ge=0, le=1)
    """Capitals in a hashtag do not change the answer."""
    emoji: float = Field(0.8, ge=0, le=1)
    """A neutral emoji at the end does not change the answer."""
    typical_words: float = Field(0.7, ge=0, le=1)
    """Words that are typical of a class in your tweets move the score its way."""
    added_not: float = Field(0.6, ge=0, le=1)
    """An added "not" lowers the score."""
    added_praise: float = Field(0.75, ge=0, le=1)
    """Added praise does not lower the score."""


class FaultConfig(Section):
    """Timeouts and retries."""

    fit_timeout_s: float = Field(4 * 3600, gt=0)
    """Seconds after which a fit's process is killed; it is not retried."""
    step_timeout_s: float = Field(4 * 3600, gt=0)
    """Seconds after which any other step times out."""
    retries: int = Field(2, ge=0)
    """Number of retries of a step that fails with a transient error."""
    retry_delay_s: float = Field(2.0, ge=0)
    """Delay before the first retry, in seconds; later delays grow exponentially, with jitter."""


class DaskConfig(Section):
    """Local or remote Dask workers."""

    address: str | None = None
    """Address of a scheduler, e.g. `tcp://10.0.0.5:8786`. Default: a local cluster on this machine's cores."""


class SearchConfig(Section):
    """How hyperparameters are searched."""

    trials: int = Field(20, ge=1)
    """Trials per model, including those of an earlier unfinished search; logistic regression tries its whole grid."""
    workers: int = Field(2, ge=1)
    """Number of parallel trials."""
    prune: bool = True
    """Stop a trial whose validation loss after an epoch is above the median of the earlier ones; logistic regression
    fits its whole grid to the end."""
    space: dict[str, list[Any] | Range] | None = None
    """Search space: option -> values, or '{"low": 1e-4, "high": 1e-2, "log": true}'. Default: that of the family."""


class LabelFileConfig(Section):
    """Where true labels of recorded predictions come from and how to read them."""

    path: Path | None = None
    """CSV, TSV, JSON, JSON lines, Parquet or Excel (.xlsx); plain, or compressed with gzip, bzip2, xz, zstd or zip."""
    id_column: str | None = None
    """Column of the prediction's id, as the server answered it. Default: `prediction_id`, if present."""
    text_column: str | None = None
    """Column of the text, used instead of an id. Default, without a column of ids: `text`, `tweet` or another common
    name."""
    label_column: str | None = None
    """Column of the label. Default: `label`, `sentiment` or another common name."""
    label_map: dict[str, str] | None = None
    """Map from the file's labels to ours, e.g. '{"0": "negative"}'. Default: common names in six languages, and
    numeric codes if the values of the column are unambiguous."""
    encoding: str | None = None
    """Encoding of the file, e.g. `cp1252`. Default: detected from the content."""
    separator: str | None = None
    """Separator of the columns, one character. Default: detected from the content."""
    quoting: bool | None = None
    """Whether fields may be quoted; if not, extra separators belong to the last column. Default: detected from the
    content."""
    header: Literal["auto", "none"] = "auto"
    """`none`: the first line is a record, and the columns are named column_1, column_2 …"""


class InputConfig(Section):
    """Where the tweets to score come from and how to read them; a label is not needed."""

    path: Path | None = None
    """CSV, TSV, JSON, JSON lines, Parquet or Excel (.xlsx), plain or compressed, or a folder of such files."""
    text_column: str | None = None
    """Text column; nested JSON fields have dotted names. Default: `text`, `tweet` or another common name."""
    id_column: str | None = None
    """Column that identifies a tweet. Default: `id`, `tweet_id`, `tweetid` or `textid`, if present."""
    date_column: str | None = None
    """Column of the date. Default: `date`, `created_at`, `tweetdate`, `timestamp` or `time`, if present."""
    encoding: str | None = None
    """Encoding of the file, e.g. `cp1252`. Default: detected from the content."""
    separator: str | None = None
    """Separator of the columns, one character. Default: detected from the content."""
    quoting: bool | None = None
    """Whether fields may be quoted; if not, extra separators belong to the last column. Default: detected from the
    content."""
    header: Literal["auto", "none"] = "auto"
    """`none`: the first line is a record, and the columns are named column_1, column_2 …"""


FileConfig = DataConfig | InputConfig | LabelFileConfig
"""How to read any file of tweets."""
