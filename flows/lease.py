"""Training runs never overlap, whether a schedule, an event or a shell starts them."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, PrefectHTTPStatusError

TRAINING = "training"
LEASE_S = 60  # Prefect's minimum; a killed training blocks the next one for this long
CONFLICT = 409


def ensure_limit() -> None:
    """Create the global concurrency limit `training` if it does not exist."""
    with get_client(sync_client=True) as client:
        try:
            client.upsert_global_concurrency_limit_by_name(TRAINING, limit=1)
        except ObjectAlreadyExists:
            return  # another process created it first
        except PrefectHTTPStatusError as error:
            if error.response.status_code != CONFLICT:
                raise


@contextmanager
def one_training() -> Iterator[None]:
    """Wait until no other training runs on this Prefect server, then hold the limit for the duration of the block."""
    ensure_limit()
    with concurrency(TRAINING, strict=True, lease_duration=LEASE_S, raise_on_lease_renewal_failure=False):
        yield
