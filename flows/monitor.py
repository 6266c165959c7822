"""Evaluate the alert rules: `python -m flows.monitor [--test-alert NAME]`, or its deployment monitor/each-minute."""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial

import sqlalchemy as sa
from prefect import flow, get_run_logger, runtime
from prefect.artifacts import create_table_artifact
from prefect.events import emit_event
from rich.console import Console
from rich.text import Text

from flows.adapter import polarity_task, translate_errors
from flows.canary import move_canary
from flows.terminal import print_table, run_from_shell
from polarity.errors import ConfigurationError, PolarityError, ServiceUnavailable
from polarity.pipeline.config import CanaryConfig, MonitorConfig
from polarity.record import alert_book
from polarity.record.alert_book import Address, AlertBook, Notice
from polarity.record.measure_book import NotedMeasure, note_measures
from polarity.record.options import RecordOptions
from polarity.record.store import RecordStore, opened_record
from polarity.record.windows import note_announced, unannounced
from polarity.watch import channels
from polarity.watch.alerts import Alarms, MonitorReport, Sender
from polarity.watch.drift_windows import judge_windows
from polarity.watch.measure import moment
from polarity.watch.production import Champion, Production
from polarity.watch.rules import AlertRules, Rule, read_rules

PREFECT = Address("prefect", "events")
"""Every change is also an event, so that automations can act on it."""


@flow(
    name="monitor",
    flow_run_name="monitor",
    description="Evaluate the alert rules on what was recorded, and notify the channels of changes.",
)
@translate_errors
def monitor(config: MonitorConfig) -> MonitorReport:
    """Evaluate the alert rules once.

    Parameters
    ----------
    config : MonitorConfig
        The file of rules. The record is the one that POLARITY_PREDICTION_LOG names.
    """
    rules = read_rules(config.rules)
    if config.test_alert is not None:
        return try_channels.submit(rules, rules.rule(config.test_alert)).result()
    return evaluate_rules.submit(rules, config.canary).result()


def announce_drift(store: RecordStore) -> None:
    """Judge the windows of the served version that are complete, and emit an event for each that has drifted.

    An event that is emitted twice, because the process was killed before that was noted, has the same id.
    """
    try:
        champion = Champion.find()
    except PolarityError as error:
        get_run_logger().warning("Drift is not judged: %s", error)
        return
    if champion is None:
        return
    judged = judge_windows(store, champion.version)
    for window in judged:
        get_run_logger().info("Answers until %s: %s", moment(window.until), window.summary)
    for window in unannounced(store):
        emit_event(
            event="polarity.drift",
            resource={
                "prefect.resource.id": f"polarity.version.{window.version}",
                "prefect.resource.name": window.version,
            },
            occurred=datetime.fromtimestamp(window.until, UTC),
            payload={"window": window.id, "effect": window.effect, "summary": window.summary},
            id=uuid.uuid5(uuid.NAMESPACE_OID, window.id),
        )
        note_announced(store, window)
    if judged:
        rows = [
            {
                "version": window.version,
                "from": moment(window.since),
                "to": moment(window.until),
                "times the threshold": f"{window.effect:.2f}",
                "found": window.summary,
            }
            for window in judged
        ]
        create_table_artifact(key="drift", table=rows, description="The windows of answers that were judged")


def estimates(report: MonitorReport, champion: Callable[[], Champion | None]) -> list[NotedMeasure]:
    """The measures of a report that have an interval, of the version that is served."""
    return [
        NotedMeasure(
            m.name, m.source, served.version, m.span.since, m.span.until, m.value, m.low, m.high, m.of, m.method
        )
        for m in (finding.measure for _, finding in report.findings)
        if m.value is not None and m.low is not None and (served := champion()) is not None
    ]


# The next run is the next try.
@polarity_task("evaluate rules", retries=0)
def evaluate_rules(rules: AlertRules, canary: CanaryConfig) -> MonitorReport:
    """Evaluate the rules, note what has changed, and send what is due."""
    options = RecordOptions.read_enabled()
    logger = get_run_logger()
    with opened_record(options.without_database) as local_store:
        store = _store(options, local_store)
        local = AlertBook(local_store.engines[0])
        shared = None if store is None else local if store is local_store else AlertBook(store.engines[-1])
        senders = {**senders_of(rules), PREFECT: _emit}
        if store is not None:
            announce_drift(store)
            move_canary(store, canary)
        alarms = Alarms(rules, local=local, shared=shared, senders=senders, look_at=_look_at())
        champion = cache(Champion.find)
        try:
            report = alarms.evaluate(
                Production(store, local=local_store, shipped=options.database is not None, champion=champion)
            )
            if store is not None:
                note_measures(store, estimates(report, champion))
        finally:
            if store is not None and store is not local_store:
                store.close()
    for reason in report.skipped:
        logger.warning("Not evaluated: %s", reason)
    for notice in report.sent:
        logger.info("%s accepted: %s", notice.address.channel, notice.text.subject)
    if len(senders) == 1:
        logger.warning(
            "Nobody is notified, because no channel has an address: set %s.", " or ".join(rules.channels.values())
        )
    if report.started or report.ended:
        create_table_artifact(key="alerts", table=table(report), description="What the rules found")
    if report.failed:
        first, problem = report.failed[0]
        raise ServiceUnavailable(
            f"{len(report.failed)} notices were not accepted, the first by the channel {first.address.channel!r} "
            f"({problem}). The next run sends them again."
        )
    return report


@polarity_task("try channels", retries=0)
def try_channels(rules: AlertRules, rule: Rule) -> MonitorReport:
    """Send a trial message to the channels of a rule."""
    targets = senders_of(rules, rule)
    if not targets:
        names = rule.channels or tuple(rules.channels)
        variables = " or ".join(rules.channels[name] for name in names) or "a channel in the file of rules"
        raise ConfigurationError(f"The rule {rule.name!r} has no address to send to; set {variables}.")
    report = MonitorReport()
    now = time.time()
    text = alert_book.Text(
        f"[Polarity] trial: {rule.name}",
        f"What: {rule.name} ({rule.severity}), a trial\n"
        f"Sent: {moment(now)}\n\n"
        "Nothing is wrong: this is a test of whether messages of this rule arrive.\n",
    )
    for address, send in targets.items():
        notice = Notice(uuid.uuid4().hex, "", rule.name, "", rule.severity, "firing", address, text, now, 1)
        send(notice)
        report.sent.append(notice)
    return report


def senders_of(rules: AlertRules, rule: Rule | None = None) -> dict[Address, Sender]:
    """How to send to each configured address, of all channels or those of one rule.

    Raises
    ------
    ConfigurationError
        If an address is not understood.
    """
    found: dict[Address, Sender] = {}
    for channel, url in rules.addresses(rule):
        channels.check_url(url, variable=rules.channels[channel])
        found[channels.address_of(channel, url)] = partial(channels.send, url=url)
    return found


def _store(options: RecordOptions, local_store: RecordStore) -> RecordStore | None:
    """The record; None if its database does not answer."""
    if options.database is None:
        return local_store
    try:
        return RecordStore(options)
    except (OSError, sa.exc.SQLAlchemyError):
        return None


def _emit(notice: Notice) -> None:
    emit_event(
        event=f"polarity.alert.{notice.change}",
        resource={
            "prefect.resource.id": f"polarity.alert.{notice.rule}",
            "prefect.resource.name": notice.rule,
            "polarity.alert.source": notice.source,
            "polarity.alert.severity": notice.severity,
        },
        occurred=datetime.fromtimestamp(notice.created_at, UTC),
        payload={"subject": notice.text.subject, "body": notice.text.body},
        id=uuid.UUID(notice.id),
    )


def _look_at() -> str:
    """Where to look, for the messages."""
    run = runtime.flow_run.ui_url
    return f"python -m polarity status{f', {run}' if run else ''}"


def table(report: MonitorReport) -> list[dict[str, str]]:
    """One row for each rule that was evaluated."""
    states = {True: "firing", False: "quiet", None: "too little to tell"}
    return [
        {
            "rule": alert_book.alert_name(rule.name, finding.measure.source),
            "state": states[finding.alarming],
            "value": finding.measure.in_words(),
            "limit": finding.limit,
        }
        for rule, finding in report.findings
    ]


def show_report(console: Console, report: MonitorReport) -> None:
    """Print what the rules found, and what was sent."""
    if report.findings:
        print_table(console, "Production", table(report))
    for reason in report.skipped:
        console.print(Text(f"Not evaluated: {reason}"), soft_wrap=True)
    for notice in report.sent:
        console.print(Text(f"Sent to {notice.address.channel}: {notice.text.subject}"), soft_wrap=True)


if __name__ == "__main__":
    run_from_shell(monitor, MonitorConfig, prog="python -m flows.monitor", show=show_report)
