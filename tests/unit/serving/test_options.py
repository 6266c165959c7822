"""The server options read from the environment."""

from __future__ import annotations

import pytest

from polarity.errors import ConfigurationError
from polarity.serving.options import ReceiverOptions, ServingOptions


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


def test_telemetry_goes_nowhere_unless_a_receiver_is_set() -> None:
    assert not ReceiverOptions.read({}).enabled
    assert not ReceiverOptions.read(
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " ", "APPLICATIONINSIGHTS_CONNECTION_STRING": ""}
    ).enabled
    set_one = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
    assert ReceiverOptions.read(set_one) == ReceiverOptions(otlp="http://collector:4318")
    assert not ReceiverOptions.read({**set_one, "OTEL_SDK_DISABLED": "True"}).enabled


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT='collector:4318'"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL='grpc'",
        ),
        ({"APPLICATIONINSIGHTS_CONNECTION_STRING": "AccountKey=secret"}, "has no InstrumentationKey"),
    ],
)
def test_receiver_that_cannot_be_one_prevents_startup(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        ReceiverOptions.read(environment)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["-0.1", "1.5", "some"])
def test_sampled_share_is_a_probability(value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"POLARITY_TELEMETRY_SAMPLE='{value}'"):
        ServingOptions.read({"POLARITY_TELEMETRY_SAMPLE": value})
