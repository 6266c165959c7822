"""Bring a store's tables to the revision of the code, and check that the migrations lead to the declared schema.

`python -m polarity.record.migration` runs Alembic's check on an empty database, as `make lint` does.
"""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from polarity.config.credentials import without_credentials
from polarity.errors import ConfigurationError
from polarity.record.schema import HEAD

if TYPE_CHECKING:
    from alembic.config import Config

# Any constant will do that no other application of the database uses.
_ADVISORY_LOCK = 7_265_712_048


def migrate(engine: sa.Engine) -> None:
    """Create or upgrade the tables behind `engine`; concurrent callers wait for one another.

    Raises
    ------
    ConfigurationError
        If the tables are newer than the code.
    """
    if _revision(engine) == HEAD:
        return
    with _locked(engine) as connection:
        found = _revision(engine)
        if found == HEAD:
            return
        if found is not None and found > HEAD:
            raise ConfigurationError(
                f"The record at {without_credentials(engine.url.render_as_string())} has revision {found}, newer "
                f"than this version's {HEAD}; use the version of Polarity that wrote it, or a later one."
            )
        # Alembic is slow to import, and needed once in the life of a store.
        from alembic import command

        command.upgrade(_config(connection), "head")
        connection.commit()


def check() -> None:
    """Compare an empty SQLite database after all migrations with the declared schema.

    Raises
    ------
    alembic.util.exc.CommandError
        If they differ; Alembic says how.
    """
    from alembic import command

    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    with engine.connect() as connection:
        config = _config(connection)
        command.upgrade(config, "head")
        command.check(config)
    if (found := _revision(engine)) != HEAD:
        sys.exit(f"The newest migration is {found}, but polarity.record.schema.HEAD is {HEAD!r}.")


def _config(connection: sa.Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "polarity.record:migrations")
    config.attributes["connection"] = connection
    return config


def _revision(engine: sa.Engine) -> str | None:
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return found


@contextmanager
def _locked(engine: sa.Engine) -> Iterator[sa.Connection]:
    if engine.dialect.name == "postgresql":
        with engine.connect() as guard, engine.connect() as connection:
            guard.execute(sa.select(sa.func.pg_advisory_lock(_ADVISORY_LOCK)))
            yield connection
        return
    path = Path(str(engine.url.database))
    with path.with_name(f"{path.name}.migrating").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with engine.connect() as connection:
            yield connection


if __name__ == "__main__":
    check()
