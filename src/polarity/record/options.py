"""The options of the record, read from the environment variables POLARITY_<NAME>."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from polarity.config.environment import PREFIX, read_options
from polarity.errors import ConfigurationError

_MIB = 2**20
# Values of POLARITY_LOG_TEXTS from the time when it was a switch.
_SWITCHES = {"true": "full", "1": "full", "yes": "full", "on": "full", "false": "off", "0": "off", "no": "off"}

Texts = Literal["off", "masked", "full"]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class RecordOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is recorded, where, and for how long.

    Attributes
    ----------
    prediction_log : str
        Path of an SQLite file, a URL (`sqlite:///...`, `postgresql://...`), or `off`. Default:
        `~/.polarity/predictions.db`.
    log_spool : str
        With a database: the local SQLite file that holds the rows until the database has them. Default:
        `~/.polarity/spool.db`.
    log_spool_mib : int
        Maximum size of the local file, in MiB. A full log without a database lets its oldest rows go; a full spool
        accepts no more until the database takes some.
    log_texts : str
        Which texts are stored: `off`, `masked` (user names, links, addresses and numbers replaced) or `full`.
    log_durable : bool
        Send an answer only after its row is in the local file; without a place for the row, the answer is a 503.
        Default: it is sent at once, since waiting costs more than a twentieth of the requests per second.
    log_keep_days : float
        Delete rows older than this.
    log_review_share : float
        Expected share of the answers that is drawn for labelling by people. Default: none.
    """

    prediction_log: str = ""
    log_spool: str = ""
    log_spool_mib: Annotated[int, msgspec.Meta(ge=1)] = 1024
    log_texts: Texts = "off"
    log_durable: bool = False
    log_keep_days: Annotated[float, msgspec.Meta(gt=0)] = 90.0
    log_review_share: Share = 0.0

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> RecordOptions:
        """Read the options set in `environment`.

        Raises
        ------
        ConfigurationError
            If a value is invalid, or the URL of the log is of no supported kind.
        """
        texts = environment.get(variable := f"{PREFIX}LOG_TEXTS", "")
        options = read_options(cls, {**environment, variable: _SWITCHES.get(texts.lower(), texts.lower())})
        scheme = options.prediction_log.partition("://")[0] if "://" in options.prediction_log else "sqlite"
        if scheme.partition("+")[0] not in ("sqlite", "postgresql", "postgres"):
            raise ConfigurationError(
                f"Got POLARITY_PREDICTION_LOG with the scheme {scheme!r}; use a path, sqlite:///PATH, "
                "postgresql://USER:PASSWORD@HOST/DATABASE or off."
            )
        return options

    @classmethod
    def read_enabled(cls) -> RecordOptions:
        """Read the options of a record that is kept.

        Raises
        ------
        ConfigurationError
            If nothing is recorded, or as `read`.
        """
        options = cls.read()
        if not options.enabled:
            raise ConfigurationError("POLARITY_PREDICTION_LOG is off; set it as for the server.")
        return options

    @property
    def enabled(self) -> bool:
        """Whether anything is recorded."""
        return self.prediction_log.lower() != "off"

    @property
    def database(self) -> str | None:
        """URL of the database that the rows are shipped to, or `None` if the local file is the log."""
        if self.prediction_log.startswith("postgres"):
            _, _, rest = self.prediction_log.partition("://")
            return f"postgresql+psycopg2://{rest}"
        return None

    @property
    def local_file(self) -> Path:
        """The local SQLite file: the log itself, or the spool of a database."""
        if self.database is not None:
            given = self.log_spool or "~/.polarity/spool.db"
        else:
            given = self.prediction_log or "~/.polarity/predictions.db"
            if given.startswith("sqlite"):
                given = given.partition("://")[2].removeprefix("/")
        return Path(given).expanduser().absolute()

    @property
    def without_database(self) -> RecordOptions:
        """The same, with the local file alone."""
        return msgspec.structs.replace(self, prediction_log=str(self.local_file))

    @property
    def spool_bytes(self) -> int:
        """Maximum size of the local file in bytes."""
        return self.log_spool_mib * _MIB


def check_challenger(address: str) -> None:
    """Refuse what cannot be the address of a challenger.

    Raises
    ------
    ConfigurationError
        If it is no http or https URL of a server, or has credentials.
    """
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        plain = not (parts.query or parts.fragment or "@" in parts.netloc)
    except ValueError:
        usable = plain = False
    if not (usable and plain):
        # It is not quoted: it may contain a password.
        raise ConfigurationError("The challenger must be the address of a server, such as http://127.0.0.1:3001.")
