"""The sections of a configuration: the options that one step of a flow depends on.

Changing an option reruns only the steps that read its section. The sections of the models are in the modules of their
families.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from polarity.config.credentials import without_credentials


class Section(BaseModel):
    """A frozen part of the configuration that rejects unknown options."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


def _without_password(place: Any) -> Any:
    if isinstance(place, str) and re.match(r"[^/]*://[^/?#@]*:[^/?#@]*@", place):
        raise ValueError(
            f"{without_credentials(place)} is given with a password, which would be kept in the records of runs; the "
            "library that opens it reads credentials from the environment"
        )
    return place


Address = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*://.")]
"""An address that fsspec opens, such as `s3://bucket/tweets`."""
Place = Annotated[Path | Address, BeforeValidator(_without_password)]
"""Where files are: a path, or an address."""


def last_name(path: Path | str | None) -> str | None:
    """The name of a file or folder without what leads to it."""
    if path is None:
        return None
    return PurePosixPath(without_credentials(path)).name if isinstance(path, str) else path.name


class RecentConfig(Section):
    """What to learn from besides the file: labels that came in, and collected tweets."""

    enabled: bool = False
    """Add the labelled texts of the record (POLARITY_LOG_TEXTS must be `masked` or `full`) and what `collect` read."""
    weight: int = Field(1, ge=1, le=100)
    """How often each recent training tweet counts; a tweet that is labelled by its emoticons counts once."""
    old_share: float = Field(1.0, gt=0, le=1)
    """Share of the file's training tweets that stays in the training set; its validation and test tweets all stay."""
    max_distant_share: float = Field(0.2, ge=0, le=0.9)
    """Maximum share of the training set that is labelled by emoticons instead of people."""
    min_test_rows: int = Field(100, ge=20)
    """Minimum number of recent test tweets for a comparison with the champion."""


class DataConfig(Section):
    """Where the labelled tweets come from and how to read them."""

    source: Literal["file", "generated"] = "file"
    """`file` reads `path`; `generated` uses the project's synthetic corpus."""
    path: Place | None = None
    """CSV, TSV, JSON, JSON lines, Parquet or Excel (.xlsx); plain, or compressed with gzip, bzip2, xz, zstd or zip;
    or a folder, all of whose files of these formats are read; or an address that fsspec opens, e.g. s3://bucket/x."""
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
    recent: RecentConfig = RecentConfig()


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


class DriftConfig(Section):
    """How answers are compared with held-out tweets; the thresholds are calibrated when the model is packaged."""

    window: int = Field(500, ge=100)
    """Number of consecutive answers of a version in a window; windows do not overlap."""
    rate: float = Field(0.01, ge=0.001, lt=0.5)
    """The share of windows without drift that may alarm, all tests together."""
    recent: bool = False
    """Compare with the held-out tweets that came in since the file was made alone, if there are two windows of them:
    for traffic that has moved for good, with labels of a fair sample of it, which reports of mistakes are not."""


class CardConfig(Section):
    """What the dossier of a model says that cannot be measured."""

    use: str = ""
    """What the model is for. Default: a sentence with its labels."""
    limits: tuple[str, ...] = ()
    """What it must not be used for, or cannot do, besides what is true of all models here."""
    data_licence: str = ""
    """Licence of the tweets, or why they may be learned from."""
    encoder_licence: str = ""
    """Licence of the pretrained encoder or of the word vectors."""


class WatchConfig(Section):
    """How a model is watched once it is served."""

    drift: DriftConfig = DriftConfig()


class FaultConfig(Section):
    """Timeouts and retries."""

    fit_timeout_s: float = Field(4 * 3600, gt=0)
    """Seconds after which a fit's process is killed; it is not retried."""
    checkpoint_minutes: float = Field(10.0, gt=0)
    """Minutes between the checkpoints of a network within an epoch; there is always one after each epoch."""
    step_timeout_s: float = Field(4 * 3600, gt=0)
    """Seconds after which any other step times out."""
    outage_s: float = Field(15 * 60, ge=0)
    """Seconds that a training waits for a Prefect server or MLflow that went away during a fit."""
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

    path: Place | None = None
    """CSV, TSV, JSON, JSON lines, Parquet or Excel (.xlsx), plain or compressed, or a folder of such files; or an
    address that fsspec opens, e.g. s3://bucket/x."""
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

    path: Place | None = None
    """CSV, TSV, JSON, JSON lines, Parquet or Excel (.xlsx), plain or compressed, or a folder of such files; or an
    address that fsspec opens, e.g. s3://bucket/x."""
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


class CollectedFilesConfig(Section):
    """Which files to collect tweets from and how to read them."""

    path: str | None = None
    """A folder, a file, or an address that fsspec opens, e.g. `s3://bucket/tweets`; subfolders are included."""
    settle_s: float = Field(60.0, ge=0)
    """Seconds for which a file must not have changed before it is read."""
    distant: bool = False
    """Label the tweets of files without a column of labels by their emoticons."""
    text_column: str | None = None
    """Text column; nested JSON fields have dotted names. Default: `text`, `tweet` or another common name."""
    label_column: str | None = None
    """Column of the label. Default: `label`, `sentiment` or another common name, if present."""
    label_map: dict[str, str] | None = None
    """Map from the files' labels to ours, e.g. '{"0": "negative"}'. Default: common names in six languages, and
    numeric codes if the values of the column are unambiguous."""
    ignore_labels: tuple[str, ...] = ()
    """Labels of the files whose rows are excluded, e.g. `irrelevant`."""
    encoding: str | None = None
    """Encoding of the files, e.g. `cp1252`. Default: detected from the content."""
    separator: str | None = None
    """Separator of the columns, one character. Default: detected from the content."""
    quoting: bool | None = None
    """Whether fields may be quoted; if not, extra separators belong to the last column. Default: detected from the
    content."""
    header: Literal["auto", "none"] = "auto"
    """`none`: the first line is a record, and the columns are named column_1, column_2 …"""

    def reading(self, path: Path) -> DataConfig:
        """How to read one local file."""
        return DataConfig(path=path, **self.model_dump(exclude={"path", "settle_s", "distant"}))


class RetrainConfig(Section):
    """Whether a training that an event or a schedule starts is worth its price, and whether a person is asked."""

    if_it_pays: bool = False
    """Train only if the wrong answers that a new model could avoid are worth the price within `horizon_days`, and
    within the cool-down and the budget."""
    price: float = Field(10.0, ge=0)
    """Price of one training, in the currency of `error_price`."""
    error_price: float = Field(0.01, gt=0)
    """What a wrong answer costs."""
    horizon_days: float = Field(7.0, gt=0)
    """Days within which a training must pay."""
    min_labels: int = Field(100, ge=20)
    """Minimum number of labelled answers of the champion for an estimate of its accuracy."""
    cool_down_h: float = Field(12.0, ge=0)
    """Hours after a training during which no other one starts."""
    per_week: int = Field(3, ge=1)
    """Maximum number of trainings within seven days."""
    ask: bool = False
    """Pause the run until a person approves of the training in the Prefect UI."""
    ask_timeout_h: float = Field(24.0, gt=0)
    """Hours after which an unanswered question counts as no."""


FileConfig = DataConfig | InputConfig | LabelFileConfig
"""How to read any file of tweets."""
