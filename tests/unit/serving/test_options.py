"""The server options read from the environment."""

from __future__ import annotations

import pytest

from polarity.errors import ConfigurationError
from polarity.serving.options import ReceiverOptions, ServingOptions, read_trusted_proxies


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
        ("POLARITY_PREFIX", "sentiment"),
        ("POLARITY_PREFIX", "//evil.example"),
        ("POLARITY_GRACE_S", "0"),
    ],
)
def test_invalid_value_is_quoted(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{variable}='{value}'"):
        ServingOptions.read({variable: value})


def test_proxies_are_addresses_and_networks() -> None:
    assert read_trusted_proxies({}) == "127.0.0.1,::1"
    for proxies in ("", "*", "10.0.0.7, 192.168.0.0/16,::1"):
        assert read_trusted_proxies({"FORWARDED_ALLOW_IPS": proxies}) == proxies
    for wrong in ("proxy.example", "10.0.0.7,", "10.0.0.1/8", "*,::1"):
        with pytest.raises(ConfigurationError, match="FORWARDED_ALLOW_IPS with"):
            read_trusted_proxies({"FORWARDED_ALLOW_IPS": wrong})


def test_origins_are_split_and_checked() -> None:
    options = ServingOptions.read({"POLARITY_CORS_ORIGINS": "https://app.example, http://localhost:8080,"})
    assert options.allowed_origins == ("https://app.example", "http://localhost:8080")
    assert ServingOptions.read({}).allowed_origins == ()
    assert ServingOptions.read({"POLARITY_CORS_ORIGINS": "*"}).allowed_origins == ("*",)
    for wrong in ("app.example", "https://app.example/", "https://*.app.example", "null"):
        with pytest.raises(ConfigurationError, match="POLARITY_CORS_ORIGINS with"):
            ServingOptions.read({"POLARITY_CORS_ORIGINS": wrong})


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
