"""Evaluate the rules, note which alerts start and end, and send the notices that are due."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from textwrap import shorten

from polarity.errors import PolarityError, ServiceUnavailable
from polarity.record.alert_book import Address, Alert, AlertBook, Notice, Text, alert_name
from polarity.watch.measure import in_time, moment
from polarity.watch.production import Finding, Production
from polarity.watch.rules import LOCAL, AlertRules, Rule

_logger = logging.getLogger(__name__)

_SUBJECT_CHARACTERS = 140

Sender = Callable[[Notice], None]
"""Sends a notice to one address; raises PolarityError or OSError if it is not accepted."""


@dataclass
class MonitorReport:
    """What one evaluation of all rules found and did.

    Attributes
    ----------
    findings : list of (Rule, Finding)
        Of each rule that could be evaluated.
    skipped : list of str
        Rules that could not be, with the reason.
    started, ended : list of str
        Alerts that did so, by name.
    sent : list of Notice
    failed : list of (Notice, str)
        Notices that were not accepted, with the reason; the next run tries again.
    """

    findings: list[tuple[Rule, Finding]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    sent: list[Notice] = field(default_factory=list)
    failed: list[tuple[Notice, str]] = field(default_factory=list)


class Alarms:
    """Decides and sends.

    Parameters
    ----------
    rules : AlertRules
    local : AlertBook
        Of the local file, for the rules about the record itself.
    shared : AlertBook or None
        Of the record, for all others; None if its database does not answer.
    senders : mapping
        How to send to each address.
    look_at : str
        Where people find more, for the messages.
    """

    def __init__(
        self,
        rules: AlertRules,
        *,
        local: AlertBook,
        shared: AlertBook | None,
        senders: Mapping[Address, Sender],
        look_at: str = "",
    ) -> None:
        self._rules = rules
        self._local = local
        self._shared = shared
        self._senders = senders
        self._look_at = look_at

    def evaluate(self, production: Production) -> MonitorReport:
        """Evaluate all rules once, note the changes, and send what is due."""
        report = MonitorReport()
        firing = {book: book.firing() for book in self._books}
        for rule in self._rules.rules:
            book = self._local if rule.measure in LOCAL else self._shared
            if book is None:
                report.skipped.append(f"{rule.name}: the database of the record does not answer")
                continue
            mine = [alert for alert in firing[book] if alert.rule == rule.name]
            for finding in production.findings(rule, {alert.source for alert in mine}):
                report.findings.append((rule, finding))
                self._decide(rule, finding, book, mine, production.now, report)
        self._end_removed(firing, production.now, report)
        self.send_due(report)
        return report

    @property
    def _books(self) -> list[AlertBook]:
        return list(dict.fromkeys(book for book in (self._local, self._shared) if book is not None))

    def _decide(
        self, rule: Rule, finding: Finding, book: AlertBook, firing: list[Alert], now: float, report: MonitorReport
    ) -> None:
        source = finding.measure.source
        name = alert_name(rule.name, source)
        if finding.alarming:
            started = book.start(
                rule.name,
                source,
                severity=rule.severity,
                summary=finding.measure.in_words(),
                text=firing_text(rule, finding, now, self._look_at),
                addresses=[address for address in self._senders if self._concerns(rule, address)],
                now=now,
                cooldown_s=rule.cooldown,
            )
            report.started += [name] * started
        elif finding.alarming is not None:
            for alert in firing:
                if alert.source == source and book.end(
                    rule.name, source, text=resolved_text(alert, rule, finding, now), now=now
                ):
                    report.ended.append(name)

    def _concerns(self, rule: Rule, address: Address) -> bool:
        return rule.channels is None or address.channel in rule.channels or address.channel not in self._rules.channels

    def _end_removed(self, firing: Mapping[AlertBook, list[Alert]], now: float, report: MonitorReport) -> None:
        """End the alerts whose rule is no longer in the file."""
        names = {rule.name for rule in self._rules.rules}
        for book, alerts in firing.items():
            for alert in alerts:
                if alert.rule not in names:
                    text = Text(f"[Polarity] resolved: {alert.rule}", "The rule is no longer in the file of rules.\n")
                    if book.end(alert.rule, alert.source, text=text, now=now):
                        report.ended.append(alert.rule)

    def send_due(self, report: MonitorReport) -> None:
        """Send the notices that have not been accepted yet."""
        for book in self._books:
            for notice in book.unsent(time.time()):
                if not book.claim(notice, time.time()):
                    continue
                try:
                    self._senders.get(notice.address, _refuse)(notice)
                except (PolarityError, OSError) as error:
                    _logger.warning("The notice %r was not accepted: %s", notice.text.subject, error)
                    book.note_failure(notice, str(error), time.time())
                    report.failed.append((notice, str(error)))
                else:
                    book.note_sent(notice, time.time())
                    report.sent.append(notice)


def _refuse(notice: Notice) -> None:
    raise ServiceUnavailable(f"the address of the channel {notice.address.channel!r} is no longer configured")


def firing_text(rule: Rule, finding: Finding, now: float, look_at: str) -> Text:
    """The message at the start of an alert: what, how much, since when, where to look."""
    measure = finding.measure
    source = f" from {measure.source!r}" if measure.source else ""
    lines = [
        f"What: {rule.name}{source} ({rule.severity})",
        f"How much: {measure.in_words()}",
        f"Limit: {finding.limit}",
        f"Since: {moment(now)}",
    ]
    if look_at:
        lines.append(f"Look at: {look_at}")
    if rule.description:
        lines += ["", rule.description]
    subject = shorten(f"[Polarity] {rule.name}{source}: {measure.in_words()}", _SUBJECT_CHARACTERS, placeholder=" …")
    return Text(subject, "\n".join(lines) + "\n")


def resolved_text(alert: Alert, rule: Rule, finding: Finding, now: float) -> Text:
    """The message at the end of an alert."""
    source = f" from {alert.source!r}" if alert.source else ""
    lasted = in_time(max(0.0, now - alert.started_at))
    lines = [
        f"What: {rule.name}{source} is over",
        f"Now: {finding.measure.in_words()}",
        f"Before: {alert.summary}",
        f"Since: {moment(alert.started_at)}",
        f"Until: {moment(now)}, for {lasted}",
    ]
    return Text(f"[Polarity] resolved: {rule.name}{source}, after {lasted}", "\n".join(lines) + "\n")
