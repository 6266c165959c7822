"""The safety record of a registered version: what has tried it, and whether it held.

It is gathered from where each trial leaves its result: the dossier, the package, the record and the version's tags. A
canary that has passed is promoted only if nothing in it has failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from polarity.bento import store as bento_store
from polarity.bento.probe import probe
from polarity.errors import PolarityError
from polarity.inference.package import ModelManifest
from polarity.inference.signature import KeyOptions, verify
from polarity.record.history import Span, pair_totals
from polarity.record.store import RecordStore
from polarity.registry.promotion import ensure_bento
from polarity.registry.provenance import kept_provenance
from polarity.registry.versions import Registry, Version

CANARY_TAG = "canary"
ROLLBACK_TRIED_TAG = "rollback_tried"


@dataclass(frozen=True)
class SafetyCheck:
    """One trial of a version.

    Attributes
    ----------
    name : str
    passed : bool or None
        None if it has not been tried, or that is not known.
    found : str
        In words.
    """

    name: str
    passed: bool | None
    found: str

    @property
    def in_words(self) -> str:
        """The outcome in one or two words."""
        return {True: "passed", False: "failed", None: "not tried"}[self.passed]


def safety_record(
    registry: Registry, version: Version, store: RecordStore | None, span: Span | None = None
) -> list[SafetyCheck]:
    """Gather the trials of a version.

    Parameters
    ----------
    registry : Registry
    version : Version
    store : RecordStore or None
        The record, which knows what was mirrored to it; None if there is none.
    span : Span, optional
        When it was mirrored to. Default: ever.
    """
    dossier = kept_provenance(registry, version).dossier
    return [
        _gates(dossier.get("data", {}).get("gates", ())),
        _behaviour(dossier.get("behaviour", ())),
        _parity(version),
        _shadow(version, store, span or Span(0, datetime.now(UTC).timestamp() + 1)),
        _tagged("canary", version.tags.get(CANARY_TAG), "it has not passed as a canary"),
        _signature(version),
        _tagged("rollback", version.tags.get(ROLLBACK_TRIED_TAG), "going back from it has not been tried"),
    ]


def try_rollback(registry: Registry, version: Version) -> SafetyCheck:
    """Start the Bento of the present champion, to which one would go back, and send it requests; note that it held."""
    champion = registry.champion()
    if champion is None or champion.number == version.number:
        return SafetyCheck("rollback", None, "there is no other champion to go back to")
    try:
        report = probe(ensure_bento(registry, champion))
    except PolarityError as error:
        return SafetyCheck("rollback", False, f"{champion} cannot be served any more: {error}")
    found = f"{champion} answered {report.requests} requests, {report.ready_s:.1f} s after its start, on {_today()}"
    registry.tag(version.number, {ROLLBACK_TRIED_TAG: found})
    return SafetyCheck("rollback", True, found)


def note_canary(registry: Registry, version: Version, reason: str) -> Version:
    """Note that a version has passed as a canary; return it with that."""
    return registry.tag(version.number, {CANARY_TAG: f"{reason.rstrip('.')}, on {_today()}"})


def _today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


def _tagged(name: str, found: str | None, otherwise: str) -> SafetyCheck:
    return SafetyCheck(name, None if found is None else True, found or otherwise)


def _gates(gates: object) -> SafetyCheck:
    suites = {one["suite"]: bool(one["passed"]) for one in gates} if isinstance(gates, list) else {}
    if not suites:
        return SafetyCheck("gates", None, "its training has left no dossier")
    failed = [suite for suite, passed in suites.items() if not passed]
    return SafetyCheck("gates", not failed, f"of its data: {', '.join(failed or suites)}")


def _behaviour(tests: object) -> SafetyCheck:
    results = {one["title"]: bool(one["passed"]) for one in tests} if isinstance(tests, list) else {}
    if not results:
        return SafetyCheck("behaviour", None, "its training has left no dossier, or ran no such test")
    failed = [title for title, passed in results.items() if not passed]
    return SafetyCheck("behaviour", not failed, "; ".join(failed) or f"all {len(results)} tests hold")


def _parity(version: Version) -> SafetyCheck:
    try:
        manifest = ModelManifest.read(bento_store.model_folder(version.bento or ""))
    except (PolarityError, OSError):
        return SafetyCheck("parity", None, "its Bento is not in the store, or is damaged")
    measured = manifest.card.get("parity", {})
    if "max_difference" not in measured:
        return SafetyCheck("parity", None, "its package does not say")
    loss = f", int8 loses {measured['int8_accuracy_loss']:.2%}" if manifest.precision == "int8" else ""
    found = f"the package differs from the trained model by at most {measured['max_difference']:.2g}{loss}"
    return SafetyCheck("parity", True, found)  # a package that differs by more is not written


def _shadow(version: Version, store: RecordStore | None, span: Span) -> SafetyCheck:
    name = (version.bento or "").partition(":")[2]
    found = [] if store is None else [one for one in pair_totals(store, span) if name and one.challenger == name]
    pairs, disagreeing = sum(one.pairs for one in found), sum(one.disagreeing for one in found)
    if not pairs:
        return SafetyCheck("shadow", None, "no text has been mirrored to it")
    return SafetyCheck(
        "shadow", True, f"{pairs:,} mirrored texts answered, {disagreeing / pairs:.1%} of them otherwise"
    )


def _signature(version: Version) -> SafetyCheck:
    key = KeyOptions.read().verify_key
    if not key:
        return SafetyCheck("signature", None, "POLARITY_VERIFY_KEY is not set")
    try:
        verify(bento_store.bento_folder(version.bento or ""), key)
    except PolarityError as error:
        return SafetyCheck("signature", False, str(error))
    return SafetyCheck("signature", True, "its Bento is what was signed")
