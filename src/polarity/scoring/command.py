"""`polarity score`: score tweets without Prefect and MLflow, with a model given as a folder or a Bento."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from polarity.bento.layout import find_bento, packaged_in, unpacked
from polarity.config.command_line import parse_options
from polarity.config.extras import extra_of
from polarity.errors import ArtifactError, ConfigurationError, DataRejected, PolarityError
from polarity.inference.package import ModelManifest
from polarity.inference.signature import KeyOptions, verify
from polarity.pipeline.config import ScoreConfig
from polarity.pipeline.faults import as_polarity_error
from polarity.registry.stored_model import StoredModel, find_model
from polarity.scoring.record import ScoringSummary, write_summary
from polarity.scoring.scoring import open_scoring, score
from polarity.scoring.tally import Tally

PROG = "polarity score"
_REPORT_EVERY_S = 10.0


def main(arguments: Sequence[str]) -> int:
    """Run `polarity score FILE-OR-FOLDER [OPTION ...]`, and return its exit code.

    Parameters
    ----------
    arguments : sequence of str
        What follows `score` on the command line. The options are those of `python -m flows.score`.
    """
    try:
        _show(_score(_parsed(arguments)))
    except ModuleNotFoundError as error:
        if (extra := extra_of(error)) is None:
            raise
        message = f"{error.name} is not installed, but needed here; pip install 'polarity[{extra}]' adds it."
        return _fail(message, 2)
    except (ConfigurationError, DataRejected, ArtifactError) as error:
        return _fail(str(error), 2)
    except PolarityError as error:
        return _fail(str(error), 1)
    except OSError as error:
        if (known := as_polarity_error(error)) is None:
            raise
        return _fail(str(known), 1)
    return 0


def _parsed(arguments: Sequence[str]) -> ScoreConfig:
    given = list(arguments)
    if given and not given[0].startswith("-"):
        given[:1] = ["--data.path", given[0]]
    config, _ = parse_options(ScoreConfig, given, prog=PROG)
    if config.runner == "dask":
        raise ConfigurationError("Got --runner dask; `python -m flows.score` scores on Dask workers.")
    return config


def _score(config: ScoreConfig) -> ScoringSummary:
    last_report = time.monotonic()

    def report(so_far: Tally) -> None:
        nonlocal last_report
        if time.monotonic() - last_report > _REPORT_EVERY_S:
            last_report = time.monotonic()
            print(f"{so_far.rows:,} tweets scored", file=sys.stderr)

    with _model(config) as model:
        opened = open_scoring(config, model)
        for remark in opened.remarks():
            print(remark, file=sys.stderr)
        summary = write_summary(opened, score(opened, report))
    try:
        from polarity.scoring.plot import write_plot
    except ModuleNotFoundError as error:
        if extra_of(error) is None:
            raise
    else:
        write_plot(summary)
    return summary


@contextmanager
def _model(config: ScoreConfig) -> Iterator[StoredModel]:
    key, path = KeyOptions.read().verify_key, Path(config.model)
    if path.is_file():
        with unpacked(path) as bento:
            yield _in_bento(config.model, bento, key)
    elif not key:
        yield _unverified(config)
    elif bento_folder := find_bento(config.model):
        yield _in_bento(config.model, bento_folder, key)
    else:
        raise ConfigurationError(
            f"There is no Bento {config.model!r}, and with POLARITY_VERIFY_KEY only a Bento is scored with: packaged "
            "models and registered versions are not signed. Give a Bento's folder, exported file or tag (such as "
            "sentiment:latest), or unset the key."
        )


def _in_bento(title: str, bento: Path, key: str) -> StoredModel:
    """The model of a Bento, which is held against its signature first if there is a key."""
    if key:
        verify(bento, key)
    return StoredModel(title, packaged_in(bento), ModelManifest.read(packaged_in(bento)))


def _unverified(config: ScoreConfig) -> StoredModel:
    try:
        return find_model(config.model, config.task)
    except ModuleNotFoundError as error:
        if error.name != "mlflow":
            raise
        raise ConfigurationError(
            f"There is no packaged model and no Bento {config.model!r}; --model needs a folder, an exported file or a "
            "tag. Champions and registered versions are in MLflow, which pip install 'polarity[train]' adds."
        ) from error


def _show(summary: ScoringSummary) -> None:
    print(f"{summary.source}: {summary.scored:,} of {summary.rows:,} rows scored by {summary.model}")
    for row in summary.table():
        print(f"  {row['sentiment']}  {row['tweets']}  {row['share']}")
    print(f"The scores and the summary are in {summary.folder}")


def _fail(message: str, code: int) -> int:
    print(f"{PROG}: {message}", file=sys.stderr)
    return code
