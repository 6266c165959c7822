"""The record's options read from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from polarity.errors import ConfigurationError
from polarity.record.options import RecordOptions


def test_empty_environment_gives_the_defaults() -> None:
    options = RecordOptions.read({})
    assert options.enabled and options.database is None
    assert options.local_file == Path("~/.polarity/predictions.db").expanduser()
    assert (options.log_texts, options.log_durable, options.log_keep_days, options.spool_bytes) == (
        "off",
        False,
        90,
        2**30,
    )


@pytest.mark.parametrize(
    ("given", "file", "database"),
    [
        ("/data/log.db", "/data/log.db", None),
        ("sqlite:////data/log.db", "/data/log.db", None),
        ("postgresql://me:pw@host/db", "/spool.db", "postgresql+psycopg2://me:pw@host/db"),
        ("postgres://host/db?sslmode=require", "/spool.db", "postgresql+psycopg2://host/db?sslmode=require"),
    ],
)
def test_prediction_log_is_a_path_or_a_url(given: str, file: str, database: str | None) -> None:
    options = RecordOptions.read({"POLARITY_PREDICTION_LOG": given, "POLARITY_LOG_SPOOL": "/spool.db"})
    assert (options.local_file, options.database) == (Path(file), database)
    local = options.without_database
    assert (local.local_file, local.database) == (Path(file), None)


@pytest.mark.parametrize("given", ["off", "OFF"])
def test_off_records_nothing(given: str) -> None:
    assert not RecordOptions.read({"POLARITY_PREDICTION_LOG": given}).enabled


@pytest.mark.parametrize(
    ("given", "texts"),
    [("", "off"), ("off", "off"), ("Masked", "masked"), ("full", "full"), ("true", "full"), ("0", "off")],
)
def test_texts_may_be_the_switch_of_earlier_versions(given: str, texts: str) -> None:
    assert RecordOptions.read({"POLARITY_LOG_TEXTS": given}).log_texts == texts


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POLARITY_LOG_TEXTS", "maybe"),
        ("POLARITY_LOG_DURABLE", "perhaps"),
        ("POLARITY_LOG_SPOOL_MIB", "0"),
        ("POLARITY_LOG_KEEP_DAYS", "-1"),
        ("POLARITY_LOG_REVIEW_SHARE", "1.5"),
    ],
)
def test_invalid_value_is_quoted(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{variable}='{value}'"):
        RecordOptions.read({variable: value})


def test_an_unsupported_database_is_named_without_its_password() -> None:
    with pytest.raises(ConfigurationError, match="the scheme 'mysql'") as caught:
        RecordOptions.read({"POLARITY_PREDICTION_LOG": "mysql://me:secret@host/db"})
    assert "secret" not in str(caught.value)
