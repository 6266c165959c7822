"""The server options read from the environment."""

from __future__ import annotations

import pytest

from polarity.errors import ConfigurationError
from polarity.serving.options import ServingOptions


def test_empty_environment_gives_the_defaults() -> None:
    options = ServingOptions.read({})
    assert options.api_keys == () and options.workers is None and options.max_batch is None
    assert (options.device, options.runner) == ("auto", "auto")
    assert options.prediction_log_url and options.prediction_log_url.endswith("/.polarity/predictions.db")
    assert not options.log_texts


def test_values_are_converted_to_their_type() -> None:
    options = ServingOptions.read(
        {
            "POLARITY_API_KEY": "one, two,,",
            "POLARITY_WORKERS": "3",
            "POLARITY_DEADLINE_S": "2.5",
            "POLARITY_LOG_TEXTS": "true",
            "POLARITY_MAX_BATCH": "",
            "POLARITY_HOME": "/somewhere/else",
        }
    )
    assert options.api_keys == ("one", "two")
    assert (
        options.workers,
        options.deadline_s,
        options.log_texts,
        options.max_batch,
    ) == (3, 2.5, True, None)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POLARITY_WORKERS", "0"),
        ("POLARITY_WORKERS", "many"),
        ("POLARITY_DEADLINE_S", "-1"),
        ("POLARITY_LOG_TEXTS", "maybe"),
        ("POLARITY_DEVICE", "tpu"),
        ("POLARITY_RUNNER", "thread"),
    ],
)
def test_invalid_value_is_quoted(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{variable}='{value}'"):
        ServingOptions.read({variable: value})


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("off", None),
        ("/data/log.db", "sqlite:////data/log.db"),
        ("sqlite:////data/log.db", "sqlite:////data/log.db"),
        ("postgresql://host/db", "postgresql://host/db"),
    ],
)
def test_prediction_log_is_a_path_a_url_or_off(given: str, url: str | None) -> None:
    assert ServingOptions.read({"POLARITY_PREDICTION_LOG": given}).prediction_log_url == url
