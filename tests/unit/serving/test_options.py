"""The server options read from the environment."""

from __future__ import annotations

import pytest

from polarity.errors import ConfigurationError
from polarity.serving.options import ServingOptions


def test_empty_environment_gives_the_defaults() -> None:
    options = ServingOptions.read({})
    assert options.api_keys == () and options.workers is None and options.max_batch is None
    assert (options.device, options.runner) == ("auto", "auto")


def test_values_are_converted_to_their_type() -> None:
    options = ServingOptions.read(
        {
            "POLARITY_API_KEY": "one, two,,",
            "POLARITY_WORKERS": "3",
            "POLARITY_DEADLINE_S": "2.5",
            "POLARITY_MAX_BATCH": "",
            "POLARITY_HOME": "/somewhere/else",
        }
    )
    assert options.api_keys == ("one", "two")
    assert (
        options.workers,
        options.deadline_s,
        options.max_batch,
    ) == (3, 2.5, None)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POLARITY_WORKERS", "0"),
        ("POLARITY_WORKERS", "many"),
        ("POLARITY_DEADLINE_S", "-1"),
        ("POLARITY_DEVICE", "tpu"),
        ("POLARITY_RUNNER", "thread"),
    ],
)
def test_invalid_value_is_quoted(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{variable}='{value}'"):
        ServingOptions.read({variable: value})


@pytest.mark.parametrize("value", ["", " ", ",", " , ,", "\t,\n"])
def test_server_that_was_to_have_keys_does_not_start_without(value: str) -> None:
    with pytest.raises(ConfigurationError, match="POLARITY_API_KEY is set but holds no key") as caught:
        ServingOptions.read({"POLARITY_API_KEY": value})
    assert repr(value) not in str(caught.value)
