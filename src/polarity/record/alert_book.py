"""Which alerts fire, and what is to be sent about them: decided and noted in one transaction, sent afterwards.

A process may be killed anywhere. Killed before the transaction, it has decided nothing, and the next run decides;
killed after it, the next run sends what is not noted as sent. A notice is sent twice only if the kill falls between
its acceptance by the receiver and the note of it, and then under the same id.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from polarity.record.schema import alerts, notices

Change = Literal["firing", "resolved"]

# Longer than a channel takes to accept or refuse a message, shorter than the time between two runs.
_CLAIM_S = 30.0
_MAX_PAUSE_S = 3_600.0
_PROBLEM_CHARACTERS = 500


class Address(NamedTuple):
    """Where notices go: the name of a channel, and the fingerprint of one of its addresses."""

    channel: str
    fingerprint: str


class Text(NamedTuple):
    """What a notice says."""

    subject: str
    body: str


def alert_name(rule: str, source: str) -> str:
    """The name of an alert, with the source that it is about if it is about one."""
    return f"{rule} ({source})" if source else rule


@dataclass(frozen=True)
class Alert:
    """An alert that fires.

    Attributes
    ----------
    rule : str
        Name of its rule.
    source : str
        The channel of the clients that it is about; empty: all.
    summary : str
        What was found when it started.
    started_at : float
        Seconds since 1970.
    """

    id: str
    rule: str
    source: str
    severity: str
    summary: str
    started_at: float


@dataclass(frozen=True)
class Notice:
    """A message about the start or the end of an alert, for one address.

    Attributes
    ----------
    id : str
        The same whenever it is sent again.
    tries : int
        How often it has been tried.
    """

    id: str
    alert_id: str
    rule: str
    source: str
    severity: str
    change: Change
    address: Address
    text: Text
    created_at: float
    tries: int


class AlertBook:
    """The alerts and notices of one store; safe to use from several processes.

    Parameters
    ----------
    engine : sqlalchemy.Engine
        Of a migrated store.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        By all methods, if the store cannot be used.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert

    def start(
        self,
        rule: str,
        source: str,
        *,
        severity: str,
        summary: str,
        text: Text,
        addresses: Iterable[Address],
        now: float,
        cooldown_s: float = 0.0,
    ) -> bool:
        """Note that an alert fires, and the notices to be sent.

        If it fires already, only the addresses that have no notice yet get one.

        Returns
        -------
        bool
            Whether it did not fire before.
        """
        with self._engine.begin() as connection:
            recently = sa.select(sa.func.max(alerts.c.ended_at)).where(_is(rule, source))
            ended_at = connection.scalar(recently)
            new = False
            if ended_at is None or ended_at <= now - cooldown_s:
                row = {"rule": rule, "source": source, "severity": severity, "summary": summary, "started_at": now}
                # The index of firing alerts lets one of several processes start it.
                added = self._insert(alerts).values(id=uuid.uuid4().hex, **row).on_conflict_do_nothing()
                new = connection.scalar(added.returning(alerts.c.id)) is not None
            firing = sa.select(alerts.c.id).where(_is(rule, source), alerts.c.ended_at.is_(None))
            if (alert_id := connection.scalar(firing)) is not None:
                self._add_notices(connection, alert_id, "firing", addresses, text, now)
            return new

    def end(self, rule: str, source: str, *, text: Text, now: float) -> bool:
        """Note that an alert no longer fires, with notices for every address that has one of its start.

        Returns
        -------
        bool
            Whether it fired before.
        """
        with self._engine.begin() as connection:
            ended = sa.update(alerts).where(_is(rule, source), alerts.c.ended_at.is_(None)).values(ended_at=now)
            alert_id = connection.scalar(ended.returning(alerts.c.id))
            if alert_id is None:
                return False
            notified = sa.select(notices.c.channel, notices.c.address).where(notices.c.alert_id == alert_id)
            addresses = [Address(*row) for row in connection.execute(notified)]
            self._add_notices(connection, alert_id, "resolved", addresses, text, now)
            return True

    def _add_notices(
        self,
        connection: sa.Connection,
        alert_id: str,
        change: Change,
        addresses: Iterable[Address],
        text: Text,
        now: float,
    ) -> None:
        rows = [
            {
                "id": uuid.uuid5(uuid.UUID(alert_id), f"{change} {address.fingerprint}").hex,
                "alert_id": alert_id,
                "change": change,
                "channel": address.channel,
                "address": address.fingerprint,
                "subject": text.subject,
                "body": text.body,
                "created_at": now,
                "tries": 0,
            }
            for address in addresses
        ]
        if rows:
            connection.execute(self._insert(notices).values(rows).on_conflict_do_nothing())

    def firing(self) -> list[Alert]:
        """The alerts that fire, the latest first."""
        columns = [alerts.c[name] for name in Alert.__dataclass_fields__]
        query = sa.select(*columns).where(alerts.c.ended_at.is_(None)).order_by(alerts.c.started_at.desc())
        with self._engine.connect() as connection:
            return [Alert(*row) for row in connection.execute(query)]

    def unsent(self, now: float) -> list[Notice]:
        """The notices that no process is sending, in the order in which they were noted.

        That of an alert's end waits until that of its start has been sent.
        """
        earlier = notices.alias()
        waits = sa.exists().where(
            earlier.c.alert_id == notices.c.alert_id,
            earlier.c.address == notices.c.address,
            earlier.c.change == "firing",
            earlier.c.sent_at.is_(None),
        )
        query = (
            sa.select(notices, alerts.c.rule, alerts.c.source, alerts.c.severity)
            .join(alerts)
            .where(notices.c.sent_at.is_(None), _free(now), (notices.c.change == "firing") | ~waits)
            .order_by(notices.c.created_at, notices.c.channel)
        )
        with self._engine.connect() as connection:
            return [_notice(row) for row in connection.execute(query)]

    def waiting(self) -> int:
        """How many notices have not been sent."""
        with self._engine.connect() as connection:
            unsent = sa.select(sa.func.count()).select_from(notices).where(notices.c.sent_at.is_(None))
            return connection.scalar(unsent) or 0

    def claim(self, notice: Notice, now: float) -> bool:
        """Keep other processes from sending a notice for a while; whether none of them is sending it or has."""
        with self._engine.begin() as connection:
            mine = sa.update(notices).where(notices.c.id == notice.id, notices.c.sent_at.is_(None), _free(now))
            return (
                connection.execute(mine.values(claimed_until=now + _CLAIM_S, tries=notices.c.tries + 1)).rowcount == 1
            )

    def note_sent(self, notice: Notice, now: float) -> None:
        """Note that a notice has been accepted."""
        self._update(notice, sent_at=now, problem=None)

    def note_failure(self, notice: Notice, problem: str, now: float) -> None:
        """Note why a notice has not been accepted; the next run tries again, or a later one after many failures."""
        pause_s = min(2.0 ** min(notice.tries, 20), _MAX_PAUSE_S)
        self._update(notice, problem=problem[:_PROBLEM_CHARACTERS], claimed_until=now + pause_s)

    def _update(self, notice: Notice, **values: object) -> None:
        with self._engine.begin() as connection:
            connection.execute(sa.update(notices).where(notices.c.id == notice.id).values(**values))


def _is(rule: str, source: str) -> sa.ColumnElement[bool]:
    return (alerts.c.rule == rule) & (alerts.c.source == source)


def _free(now: float) -> sa.ColumnElement[bool]:
    return notices.c.claimed_until.is_(None) | (notices.c.claimed_until < now)


def _notice(row: Any) -> Notice:
    return Notice(
        row.id,
        row.alert_id,
        row.rule,
        row.source,
        row.severity,
        row.change,
        Address(row.channel, row.address),
        Text(row.subject, row.body),
        row.created_at,
        row.tries,
    )
