"""How a server behaves: read from the environment once, each option as POLARITY_<NAME>."""

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
        Keys that open the API, separated by commas; none: it is open.
    prediction_log : str
        Path of an SQLite file or a URL (`sqlite:///...`), or `off`. Default: `~/.polarity/predictions.db`.
    log_texts : bool
        Keep the texts in the prediction log, not only their lengths.
    device : str
        `cpu`, `gpu` (a runner without one does not become ready), or `auto`: a GPU if the machine has one and
        the model can use it.
    runner : str
        `process`: the model runs in a process of its own, which the server processes call; `auto`: so on a GPU only.
    gpu_memory_mib : int
        Most memory that ONNX Runtime takes on each GPU, in MiB.
    workers : int or None
        Server processes; where the model has no process of its own, each has a copy. Default: 1, more beside GPUs.
    model_threads : int or None
        Threads inside one call of a neural model. Default: the cores divided by the workers.
    max_batch : int or None
        Most texts in one call of the model. Default: by family.
    max_wait_s : float
        Refuse (429) what would wait longer than this for its turn; what a burst may wait.
    max_queue : int
        Refuse (429) when more texts than this would wait, whatever the speed.
    deadline_s : float
        Give up (504) on what has waited so long.
    body_timeout_s : float
        Cut off (408) a client that needs longer to send its body.
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
        """The options that `environment` sets, defaults for the others.

        Raises
        ------
        ConfigurationError
            If a value cannot be read.
        """
        given = {
            name: environment[variable]
            for name in cls.__struct_fields__
            if environment.get(variable := _PREFIX + name.upper())
        }
        try:
            return msgspec.convert(given, cls, strict=False)
        except msgspec.ValidationError as error:
            reason, _, place = str(error).partition(" - at `$.")
            name = place.rstrip("`")
            raise ConfigurationError(f"Got {_PREFIX}{name.upper()}={given.get(name)!r}: {reason}.") from error

    @property
    def api_keys(self) -> tuple[str, ...]:
        """The keys, one by one."""
        return tuple(key for part in self.api_key.split(",") if (key := part.strip()))

    @property
    def prediction_log_url(self) -> str | None:
        """URL of the prediction log, or None if it is off."""
        if self.prediction_log.lower() == "off":
            return None
        if "://" in self.prediction_log:
            return self.prediction_log
        path = Path(self.prediction_log or "~/.polarity/predictions.db").expanduser().absolute()
        return f"sqlite:///{path}"
