"""Why a deployment did not take place."""


class DeployError(Exception):
    """A deployment that failed; what was live before is live."""


class SmokeTestFailed(DeployError):
    """The new version does not answer as the contract says."""


class Busy(DeployError):
    """Another deployment is running."""
