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
