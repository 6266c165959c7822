"""What can go wrong, named after what the caller can do about it.

Every message quotes the offending value and says what would be right.
"""


class PolarityError(Exception):
    """Base of all errors that the project raises on purpose."""


class ConfigurationError(PolarityError):
    """An option is wrong: change the configuration. Never worth a retry."""


class DataRejected(PolarityError):
    """The tweets are not fit to learn from: mend or replace the data. Never worth a retry."""


class ArtifactError(PolarityError):
    """A file the project wrote is missing, altered or of another version: make it again."""


class ServiceUnavailable(PolarityError):
    """A server, registry or process did not answer or died: try again later."""
