"""The project's errors, each named after what the caller can do about it.

Every message quotes the offending value and states what would be right.
"""


class PolarityError(Exception):
    """Base class of all errors that the project raises deliberately."""


class ConfigurationError(PolarityError):
    """An option is invalid: change the configuration. Never worth a retry."""


class DataRejected(PolarityError):
    """The tweets cannot be trained on: correct or replace the data. Never worth a retry."""


class ArtifactError(PolarityError):
    """A file written by the project is missing, altered or of a different version: create it again."""


class ServiceUnavailable(PolarityError):
    """A server, registry or process did not respond or died: try again later."""


class ProcessKilled(ServiceUnavailable):
    """A process was killed by a signal: worth one more try, but not a third if the same happens again.

    Parameters
    ----------
    message : str
    signal : str
        Name of the signal, e.g. `SIGSEGV`.
    """

    def __init__(self, message: str, signal: str = "") -> None:
        super().__init__(message)
        self.signal = signal
