"""The server's options, read once from the environment variables POLARITY_<NAME>."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from polarity.errors import ConfigurationError

_PREFIX = "POLARITY_"

Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class ServingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of one server process.

    Attributes
    ----------
    api_key : str
        Accepted API keys, separated by commas. Default: empty, no key required.
    prediction_log : str
        Path of an SQLite file, a URL (`sqlite:///...`), or `off`. Default: `~/.polarity/predictions.db`.
    log_texts : bool
        Store the texts in the prediction log, not only their lengths.
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
    """

    api_key: str = ""
    prediction_log: str = ""
    log_texts: bool = False
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

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> ServingOptions:
        """Read the options set in `environment`; the others have their defaults.

        Raises
        ------
        ConfigurationError
            If a value is invalid.
        """
        given = {
            name: environment[variable]
            for name in cls.__struct_fields__
            if environment.get(variable := _PREFIX + name.upper())
        }
        try:
            return msgspec.convert(given, cls, strict=False)
        except msgspec.ValidationError as error:
            reason, _, field = str(error).partition(" - at `$.")
            name = field.rstrip("`")
            raise ConfigurationError(f"Got {_PREFIX}{name.upper()}={given.get(name)!r}: {reason}.") from error

    @property
    def api_keys(self) -> tuple[str, ...]:
        """The API keys as a tuple."""
        return tuple(key for part in self.api_key.split(",") if (key := part.strip()))

    @property
    def prediction_log_url(self) -> str | None:
        """URL of the prediction log, or `None` if it is off."""
        if self.prediction_log.lower() == "off":
            return None
        if "://" in self.prediction_log:
            return self.prediction_log
        path = Path(self.prediction_log or "~/.polarity/predictions.db").expanduser().absolute()
        return f"sqlite:///{path}"
