"""The canary, moved each minute by the monitor: events, an artifact, and the promotion at its end."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime

import msgspec
from prefect import get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.events import emit_event

from polarity.errors import PolarityError
from polarity.pipeline.config import CanaryConfig
from polarity.record import challenge
from polarity.record.canary import CanaryState, Phase
from polarity.record.challenge import ChallengeSet, read_challenge
from polarity.record.history import Span
from polarity.record.store import RecordStore
from polarity.registry import promotion
from polarity.registry.versions import Registry
from polarity.watch import safety
from polarity.watch.challenger import canary_in_words, weigh_canary
from polarity.watch.measure import moment
from polarity.watch.safety import SafetyCheck

_AT_REST = ("off", "paused", "back")


def move_canary(store: RecordStore, rails: CanaryConfig) -> None:
    """Let the challenger answer more clients, as many as before, or none; promote it at the end.

    A state is committed first and announced then. One that a killed run did not announce is announced by the next run,
    as an event with the same id.
    """
    found = read_challenge(store)
    if found is None or not found.challenge.address or found.canary.phase == "off":
        return
    found = _announced(store, found)
    if found is None or found.canary.phase in _AT_REST:
        return
    found = _moved(store, found, weigh_canary(store, found.canary, time.time(), rails))
    if found is not None and found.canary.phase == "passed":
        try:
            ended, checks = end_of(found.canary, store)
        except PolarityError as error:
            get_run_logger().warning("The challenger is not promoted; the next run tries again: %s", error)
            return
        if checks:
            rows = [{"check": one.name, "outcome": one.in_words, "found": one.found} for one in checks]
            create_table_artifact(key="safety", table=rows, description=f"What has tried {ended.version}")
        _moved(store, found, ended)


def _moved(store: RecordStore, found: ChallengeSet, canary: CanaryState) -> ChallengeSet | None:
    """What stands after a change; None if a person changed the challenge meanwhile."""
    get_run_logger().info("%s", canary_in_words(canary))
    if canary == found.canary:
        return found
    if not challenge.move_canary(store, found, canary):
        get_run_logger().info("The challenge has been changed meanwhile, and stands as it was set.")
        return None
    return _announced(store, msgspec.structs.replace(found, canary=canary, revision=found.revision + 1))


def _announced(store: RecordStore, found: ChallengeSet) -> ChallengeSet | None:
    canary = found.canary
    if canary.announced:
        return found
    name = "step" if canary.phase == "running" else canary.phase
    step = f"{found.challenge.address} {canary.version} {canary.phase} {canary.share} {canary.since}"
    emit_event(
        event=f"polarity.canary.{name}",
        resource={
            "prefect.resource.id": f"polarity.version.{canary.version}",
            "prefect.resource.name": canary.version,
        },
        occurred=datetime.fromtimestamp(canary.since, UTC),
        payload={"phase": canary.phase, "clients": canary.clients, "reason": canary.reason},
        id=uuid.uuid5(uuid.NAMESPACE_OID, step),
    )
    row = {
        "challenger": canary.version,
        "phase": canary.phase,
        "clients": f"{canary.clients:.0%}",
        "since": moment(canary.since),
        "reason": canary.reason,
    }
    create_table_artifact(key="canary", table=[row], description="The last step of the canary")
    done = msgspec.structs.replace(canary, announced=True)
    if not challenge.move_canary(store, found, done):
        return None
    return msgspec.structs.replace(found, canary=done, revision=found.revision + 1)


def end_of(canary: CanaryState, store: RecordStore | None = None) -> tuple[CanaryState, list[SafetyCheck]]:
    """Promote a challenger that has passed, unless its safety record has a failure.

    Returns
    -------
    CanaryState, list of SafetyCheck
        Its state then, with the reason if it is not promoted; and its safety record, empty if that was not looked at.
    """

    def ended(phase: Phase, reason: str) -> CanaryState:
        return msgspec.structs.replace(canary, phase=phase, reason=reason, since=time.time(), announced=False)

    registry = Registry.open()
    versions = registry.versions()
    version = next((v for v in versions if v.bento and v.bento.partition(":")[2] == canary.version), None)
    if version is None:
        return ended("unregistered", f"It has passed, but no registered version has the Bento {canary.version}."), []
    if (marked := promotion.rolled_back(version, versions)) is not None:
        reason = f"{promotion.mark_in_words(marked)}, so it is not promoted again by itself."
        return ended("unregistered", f"It has passed, but {reason}"), []
    champion, checks = registry.champion(), list[SafetyCheck]()
    if champion is None or champion.number != version.number:
        bento = promotion.ensure_bento(registry, version)
        version = safety.note_canary(registry, version, canary.reason)
        tried = safety.try_rollback(registry, version)
        checks = safety.safety_record(registry, version, store, Span(canary.began, time.time()))
        checks = [tried if check.name == tried.name else check for check in checks]
        if failed := [f"{check.name}: {check.found}" for check in checks if check.passed is False]:
            reason = f"It has passed, but its safety record has failures: {'; '.join(failed)}."
            return ended("unregistered", reason), checks
        promotion.promote(registry, version, bento, "superior")
    return ended("promoted", f"{version} is the champion of the task {registry.task}."), checks
