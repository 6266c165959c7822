"""Promotion of a registered version to champion, with one commit point: the alias in the registry.

Before anything here runs, the Bento has been built under a candidate's name and
has answered real requests. The promotion tags the version with its Bento, moves
the alias (the commit), and then updates `sentiment:latest`, if the task is the one that is
served. If a run is killed between the last two, `reconcile` repairs that at the start of the next run.

A version that a person rolled back from is marked, and only a person's command makes it champion again.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from polarity.bento import store as bento
from polarity.bento.build import build
from polarity.bento.probe import probe
from polarity.bento.provenance import Provenance, write_provenance
from polarity.errors import ArtifactError, ConfigurationError
from polarity.evaluation.verdict import Basis
from polarity.registry import tasks
from polarity.registry.provenance import keep_provenance, kept_provenance
from polarity.registry.versions import Registry, Version

BENTO_TAG = "bento"
PROMOTED_TAG = "promoted"
BASIS_TAG = "promotion_basis"
DIGEST_TAG = "model_digest"
ROLLED_BACK_TAG = "rolled_back"
ROLLED_BACK_BY_TAG = "rolled_back_by"
ROLLED_BACK_WHY_TAG = "rolled_back_why"
_MARK = (ROLLED_BACK_TAG, ROLLED_BACK_BY_TAG, ROLLED_BACK_WHY_TAG)
REFERENCES = 5
"""Number of former champions that are considered as the reference, at most."""


@dataclass(frozen=True)
class Promotion:
    """What changed: the new champion, its Bento, the previous champion, and whether `sentiment:latest` is the Bento."""

    champion: Version
    bento: str
    before: Version | None
    served: bool


def promote(
    registry: Registry, version: Version, candidate: str, basis: Basis, provenance: Provenance | None = None
) -> Promotion:
    """Make `version`, served by the Bento `candidate`, the champion of its task.

    If the Bento cannot be promoted, the alias is restored and the error is raised.

    Parameters
    ----------
    registry : Registry
    version : Version
    candidate : str
        Tag of its Bento.
    basis : str
        On what grounds. A person's request also lifts the mark of a rollback.
    provenance : Provenance, optional
        Of the run that promotes it. Default: the Bento keeps that of the run that promoted it before.
    """
    registry.tag(version.number, {BENTO_TAG: candidate})
    if provenance is not None:
        keep_provenance(registry, version, provenance)
    before = registry.set_champion(version.number)
    try:
        served = tasks.served_task(registry.uri) == registry.task
        if provenance is not None:
            # Before `latest` points at it: a server that follows reads it then.
            write_provenance(bento.promote(candidate, latest=False), provenance)
        tag = bento.promote(candidate, latest=served)
        _tag_as_promoted(registry, version, basis)
    except BaseException:
        registry.set_champion(before.number if before else None)
        raise
    if basis in ("requested", "rollback"):
        registry.untag(version.number, *_MARK)
    return Promotion(registry.version(version.number), tag, before, served)


def register_candidate(registry: Registry, version: Version, candidate: str, provenance: Provenance) -> None:
    """Note the Bento of a version that may become champion after it has been tried, and the run that made it."""
    registry.tag(version.number, {BENTO_TAG: candidate})
    keep_provenance(registry, version, provenance)


def promote_on_request(registry: Registry, number: int) -> Promotion:
    """Make a version the champion because a person says so; that also lifts the mark of a rollback.

    Raises
    ------
    ArtifactError
        If there is no such version, or its model no longer exists.
    """
    version = registry.version(number)
    return promote(registry, version, ensure_bento(registry, version), "requested")


def ensure_bento(registry: Registry, version: Version) -> str:
    """The tag of a version's Bento; if the store does not have it, it is built from the registered model and probed."""
    if version.bento and _in_store(version.bento):
        return version.bento
    tag = build(registry.packaged(version))
    probe(tag)
    write_provenance(tag, kept_provenance(registry, version))
    registry.tag(version.number, {BENTO_TAG: tag})
    return tag


def former_champions(registry: Registry) -> list[Version]:
    """Versions that were champion before, in order of promotion, including those that a person rolled back from."""
    current = registry.champion()
    former = [v for v in registry.versions() if PROMOTED_TAG in v.tags and v != current]
    return sorted(former, key=lambda version: version.tags[PROMOTED_TAG])


def previous_champion(registry: Registry) -> Version | None:
    """The version that `rollback` restores by default: the last one promoted before the current champion.

    Versions that a person rolled back from do not count, so a second rollback goes further back.
    """
    current = registry.champion()
    versions = registry.versions()
    former = [version for version in former_champions(registry) if rolled_back(version, versions) is None]
    if current is not None:
        former = [v for v in former if v.tags[PROMOTED_TAG] < current.tags.get(PROMOTED_TAG, "")]
    return former[-1] if former else None


def reference_versions(registry: Registry) -> list[Version]:
    """The champions since the last superior promotion, the candidates for the reference of a comparison.

    They are the version of that promotion (or of the first one, or of a person's decision) and the latest that were
    promoted as not inferior since, without those that a person rolled back from. The current champion is among them.
    """
    champions = [v for v in (*former_champions(registry), registry.champion()) if v is not None]
    champions = sorted(
        (v for v in champions if ROLLED_BACK_TAG not in v.tags and PROMOTED_TAG in v.tags),
        key=lambda version: version.tags[PROMOTED_TAG],
    )
    anchors = [place for place, v in enumerate(champions) if v.tags.get(BASIS_TAG, "first") != "not inferior"]
    since = champions[anchors[-1] :] if anchors else champions
    return [*since[:1], *since[1:][-(REFERENCES - 1) :]]


def rollback(registry: Registry, to: int | None = None, *, reason: str = "") -> Promotion:
    """Restore a former champion, alias and Bento, and mark the current one, so that no run promotes it again.

    Parameters
    ----------
    registry : Registry
    to : int, optional
        Number of the version. Default: the last one promoted before the current champion that nobody rolled back from.
    reason : str
        Why; kept with the mark.

    Raises
    ------
    ConfigurationError
        If there is no such former champion; the message lists the existing ones.
    """
    former, current = former_champions(registry), registry.champion()
    version = previous_champion(registry) if to is None else next((v for v in former if v.number == to), None)
    if version is None:
        known = ", ".join(f"{v.number} ({v.name})" for v in former) or "none"
        problem = "There is no former champion" if to is None else f"Version {to} is not a former champion"
        raise ConfigurationError(f"{problem} to roll back to. Former champions: {known}.")
    tag = ensure_bento(registry, version)
    if current is not None:
        mark = {ROLLED_BACK_TAG: datetime.now(UTC).isoformat(timespec="seconds"), ROLLED_BACK_BY_TAG: getpass.getuser()}
        registry.tag(current.number, {**mark, ROLLED_BACK_WHY_TAG: reason} if reason else mark)
    try:
        return promote(registry, version, tag, "rollback")
    except BaseException:
        if current is not None:
            registry.untag(current.number, *_MARK)
        raise


def rolled_back(version: Version, versions: Sequence[Version]) -> Version | None:
    """The one of `versions` with a rollback's mark that has the same model as `version` (often itself), or None."""
    digest = version.tags.get(DIGEST_TAG)
    for other in versions:
        same = other.number == version.number or (digest is not None and other.tags.get(DIGEST_TAG) == digest)
        if same and ROLLED_BACK_TAG in other.tags:
            return other
    return None


def mark_in_words(version: Version) -> str:
    """A clause on who rolled back from a marked version, when and why."""
    why = version.tags.get(ROLLED_BACK_WHY_TAG)
    when, who = version.tags[ROLLED_BACK_TAG], version.tags.get(ROLLED_BACK_BY_TAG, "somebody")
    return f"{who} rolled back from {version} on {when[:10]}" + (f" ({why})" if why else "")


def serve(registry: Registry) -> str:
    """Make the task of `registry` the served one, and return the tag that `sentiment:latest` is then.

    Raises
    ------
    ConfigurationError
        If the task has no champion.
    """
    tasks.choose_served(registry.uri, registry.task)
    champion = registry.champion()
    assert champion is not None
    return bento.promote(ensure_bento(registry, champion))


def reconcile(registry: Registry, log: Callable[[str], object]) -> None:
    """Repair what a killed run left behind: `sentiment:latest` is the Bento of the served task's champion again.

    A Bento that is gone from the store (another BENTOML_HOME, a `bentoml delete`, a new machine) is built again from
    the registered model. If that is impossible, the message says so, and nothing changes.

    Parameters
    ----------
    registry : Registry
        Of any task.
    log : callable
        Called with a clause on each repair.
    """
    for task in tasks.registered_tasks(registry.uri):
        of = Registry(registry.uri, task.name)
        champion = of.champion()
        if champion is not None and champion.bento and PROMOTED_TAG not in champion.tags:
            _tag_as_promoted(of, champion, "first")
    served = Registry(registry.uri, tasks.served_task(registry.uri))
    champion = served.champion()
    if champion is None or champion.bento is None:
        return
    if bento.latest() == bento.promoted_tag(champion.bento):
        return
    if not _in_store(champion.bento):
        try:
            tag = ensure_bento(served, champion)
        except ArtifactError as error:
            log(
                f"nothing, since the Bento {champion.bento} of the champion {champion} is gone from the Bento store "
                f"and cannot be built again, so sentiment:latest is {bento.latest() or 'missing'}: {error}"
            )
            return
        log(f"the Bento {champion.bento} of the champion {champion} was gone from the Bento store; it was built again")
    else:
        tag = champion.bento
    log(f"sentiment:latest is {bento.promote(tag)} again, the Bento of the champion {champion}")


def _in_store(tag: str) -> bool:
    return bento.exists(tag) or bento.exists(bento.promoted_tag(tag))


def _tag_as_promoted(registry: Registry, version: Version, basis: Basis) -> None:
    """Record the promotion: only a version that was champion can become a former champion."""
    registry.tag(version.number, {PROMOTED_TAG: datetime.now(UTC).isoformat(), BASIS_TAG: basis})
