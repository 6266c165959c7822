"""The server's options, read once from the environment variables POLARITY_<NAME>, and where its telemetry goes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Annotated, Literal

import msgspec

from polarity.config.environment import read_options
from polarity.errors import ConfigurationError
from polarity.record.options import check_challenger

Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s?#@*]+")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")


class ServingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of one server process; those of the record are `polarity.record.options.RecordOptions`.

    Attributes
    ----------
    api_key : str
        Accepted API keys, separated by commas. Default: empty, no key required.
    device : str
        `cpu`, `gpu` (a runner without a GPU does not become ready), or `auto`: a GPU if the machine has one and
        the model can use it.
    runner : str
        `process`: run the model in a separate process that the server processes call; `auto`: only on a GPU.
    gpu_memory_mib : int
        Maximum memory that ONNX Runtime allocates on each GPU, in MiB.
    workers : int or None
        Number of server processes; without a separate model process, each has its own copy of the model. Default: 1;
        on a GPU, depends on the cores.
    model_threads : int or None
        Threads within one call of a neural model. Default: the cores divided by the workers.
    max_batch : int or None
        Maximum number of texts per call of the model. Default: depends on the family.
    max_wait_s : float
        Refuse (429) a request that would wait longer than this for its turn; also the longest wait in a burst.
    max_queue : int
        Refuse (429) a request when more texts than this would be queued, however fast the model is.
    deadline_s : float
        Fail (504) a request that has waited this long.
    body_timeout_s : float
        Disconnect (408) a client that takes longer than this to send its body.
    head_timeout_s : float
        Disconnect (408) a client that takes longer than this to send a request's head, or to begin the first one.
    send_timeout_s : float
        Disconnect a client that leaves its responses unread for longer than this.
    max_connections : int
        Refuse (503) connections beyond this number, in each server process.
    max_connections_per_client : int or None
        Refuse (503) connections beyond this number from one address, in each server process. Default: 1,024, and at
        most three quarters of `max_connections`.
    max_buffered_mib : int
        Refuse (503) a body if all those that have arrived in part would take more than this, in MiB.
    telemetry_sample : float
        Share of the requests that are sent as spans where the client does not decide it (`traceparent`).
    telemetry_label : str
        Send each answer with this sentiment as a log record.
    challenger : str
        Address of a server to which answered texts are mirrored until `python -m polarity challenge` says otherwise.
    challenger_share : float
        Share of the answered texts that is mirrored to it.
    follow : bool
        A server of `NAME:latest` takes over the Bento that becomes the latest.
    challenger_key : str
        The API key that the challenger requires.
    challenger_deadline_s : float
        How long a client of the challenger waits for it before the served model answers.
    prefix : str
        Path below which a proxy publishes the server without removing it from the requests.
    grace_s : float or None
        Maximum time that open requests get when the server is asked to stop. Default: `deadline_s`.
    cors_origins : str
        Origins whose pages may call the server from a browser, separated by commas; `*` for any. Default: none.
    """

    api_key: str = ""
    device: Literal["cpu", "gpu", "auto"] = "auto"
    runner: Literal["process", "auto"] = "auto"
    gpu_memory_mib: Annotated[int, msgspec.Meta(ge=64)] = 4096
    workers: Count | None = None
    model_threads: Count | None = None
    max_batch: Count | None = None
    max_wait_s: Positive = 0.5
    max_queue: Count = 20_000
    deadline_s: Positive = 30.0
    body_timeout_s: Positive = 10.0
    head_timeout_s: Positive = 10.0
    send_timeout_s: Positive = 30.0
    max_connections: Count = 4096
    max_connections_per_client: Count | None = None
    max_buffered_mib: Count = 256
    telemetry_sample: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1
    telemetry_label: str = "negative"
    challenger: str = ""
    challenger_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    follow: bool = True
    challenger_key: str = ""
    challenger_deadline_s: Positive = 1.0
    prefix: str = ""
    grace_s: Positive | None = None
    cors_origins: str = ""

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> ServingOptions:
        """Read the options set in `environment`; the others have their defaults.

        Raises
        ------
        ConfigurationError
            If a value is invalid, or if API keys are set but none is there.
        """
        options = read_options(cls, environment)
        if "POLARITY_API_KEY" in environment and not options.api_keys:
            # It was set to close the server: an empty variable in a template must not open it.
            raise ConfigurationError(
                "POLARITY_API_KEY is set but holds no key: set it to one or more keys separated by commas, or unset "
                "it if no key shall be required."
            )
        if options.challenger:
            check_challenger(options.challenger)
        if not _PREFIX.fullmatch(options.prefix):
            raise ConfigurationError(
                f"Got POLARITY_PREFIX={options.prefix!r}: use a plain path that begins with a slash, like /sentiment."
            )
        for origin in options.allowed_origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ConfigurationError(
                    f"Got POLARITY_CORS_ORIGINS with {origin!r}: an origin is a scheme and a host, maybe with a port, "
                    "like https://app.example:8443, without a path; or * for any."
                )
        return options

    @property
    def api_keys(self) -> tuple[str, ...]:
        """The API keys as a tuple."""
        return tuple(key for part in self.api_key.split(",") if (key := part.strip()))

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins whose pages may call the server."""
        return tuple(origin for part in self.cors_origins.split(",") if (origin := part.strip()))


def read_trusted_proxies(environment: Mapping[str, str] = os.environ) -> str:
    """The addresses and networks whose `X-Forwarded-*` headers are believed; `*` for any, empty for none.

    The variable is uvicorn's, which takes what it cannot read for the name of a Unix socket, and so trusts nobody.

    Raises
    ------
    ConfigurationError
        If one is neither an address nor a network.
    """
    proxies = environment.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")
    for proxy in proxies.split(",") if proxies.strip() not in ("", "*") else ():
        try:
            ip_network(proxy.strip())
        except ValueError as error:
            raise ConfigurationError(
                f"Got FORWARDED_ALLOW_IPS with {proxy!r}: use the addresses and networks of the proxies, separated by "
                "commas, like 10.0.0.7,192.168.0.0/16; or * for any."
            ) from error
    return proxies.strip()


class ReceiverOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where telemetry is sent, in the variables that Azure and OpenTelemetry define for it; by default nowhere.

    Attributes
    ----------
    azure : str
        Connection string of Application Insights (`APPLICATIONINSIGHTS_CONNECTION_STRING`).
    otlp : str
        URL of a receiver that takes OTLP as protobuf over HTTP (`OTEL_EXPORTER_OTLP_ENDPOINT`).
    """

    azure: str = ""
    otlp: str = ""

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> ReceiverOptions:
        """Read the receivers set in `environment`.

        Raises
        ------
        ConfigurationError
            If one is set but cannot be one.
        """
        if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return cls()
        options = cls(
            azure=environment.get("APPLICATIONINSIGHTS_CONNECTION_STRING", "").strip(),
            otlp=environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip(),
        )
        if options.azure and "instrumentationkey=" not in options.azure.lower():
            # The string is not quoted: it may be a secret for something else.
            raise ConfigurationError(
                "APPLICATIONINSIGHTS_CONNECTION_STRING is set but has no InstrumentationKey=...; copy the connection "
                "string from the resource's overview, or unset it."
            )
        if options.otlp:
            if not options.otlp.startswith(("http://", "https://")):
                raise ConfigurationError(
                    f"Got OTEL_EXPORTER_OTLP_ENDPOINT={options.otlp!r}: use a URL like http://collector:4318."
                )
            protocol = environment.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
            if protocol != "http/protobuf":
                raise ConfigurationError(
                    f"Got OTEL_EXPORTER_OTLP_PROTOCOL={protocol!r}: only http/protobuf is supported (port 4318)."
                )
        return options

    @property
    def enabled(self) -> bool:
        """Whether telemetry is sent anywhere."""
        return bool(self.azure or self.otlp)
