"""Two trainings never overlap, whether a schedule, an event or a shell started them."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, PrefectHTTPStatusError

TRAINING = "training"
LEASE_S = 60  # the shortest that Prefect takes: for so long a killed training blocks the next
CONFLICT = 409


def ensure_limit() -> None:
    """Create the global concurrency limit `training`, if it is not there."""
    with get_client(sync_client=True) as client:
        try:
            client.upsert_global_concurrency_limit_by_name(TRAINING, limit=1)
        except ObjectAlreadyExists:
            return  # somebody else was quicker
        except PrefectHTTPStatusError as error:
            if error.response.status_code != CONFLICT:
                raise


@contextmanager
def one_training() -> Iterator[None]:
    """Wait until no other training runs on this Prefect server, and hold the limit until the end of the block."""
    ensure_limit()
    with concurrency(TRAINING, strict=True, lease_duration=LEASE_S, raise_on_lease_renewal_failure=False):
        yield
