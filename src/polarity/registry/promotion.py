"""Promotion of a registered version to champion, with one commit point: the alias in the registry.

Before anything here runs, the Bento has been built under a candidate's name and
has answered real requests. The promotion tags the version with its Bento, moves
the alias (the commit), and then updates `sentiment:latest`. If a run is killed
between the last two, `reconcile` repairs that at the start of the next run.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from polarity.bento import store as bento
from polarity.errors import ArtifactError, ConfigurationError
from polarity.registry.versions import Registry, Version

BENTO_TAG = "bento"
PROMOTED_TAG = "promoted"


@dataclass(frozen=True)
class Promotion:
    """What changed: the new champion, its Bento, and the previous champion."""

    champion: Version
    bento: str
    before: Version | None


def promote(registry: Registry, version: Version, candidate: str) -> Promotion:
    """Make `version`, served by the Bento `candidate`, the champion.

    If the Bento cannot be promoted, the alias is restored and the error is raised.
    """
    registry.tag(version.number, {BENTO_TAG: candidate})
    before = registry.set_champion(version.number)
    try:
        served = bento.promote(candidate)
        _tag_as_promoted(registry, version)
    except BaseException:
        registry.set_champion(before.number if before else None)
        raise
    return Promotion(registry.version(version.number), served, before)


def _tag_as_promoted(registry: Registry, version: Version) -> None:
    """Record the promotion: only a version that was champion can become a former champion."""
    registry.tag(version.number, {PROMOTED_TAG: datetime.now(UTC).isoformat()})


def former_champions(registry: Registry) -> list[Version]:
    """Versions with a known Bento that were champion before, in order of promotion."""
    current = registry.champion()
    former = [v for v in registry.versions() if PROMOTED_TAG in v.tags and v.bento and v != current]
    return sorted(former, key=lambda version: version.tags[PROMOTED_TAG])


def previous_champion(registry: Registry) -> Version | None:
    """The last version promoted before the current champion, which `rollback` restores by default."""
    former, current = former_champions(registry), registry.champion()
    if current is not None:
        former = [v for v in former if v.tags[PROMOTED_TAG] < current.tags.get(PROMOTED_TAG, "")]
    return former[-1] if former else None


def rollback(registry: Registry, to: int | None = None) -> Promotion:
    """Restore a former champion, alias and Bento.

    Parameters
    ----------
    registry : Registry
    to : int, optional
        Number of the version. Default: the last one promoted before the current champion.

    Raises
    ------
    ConfigurationError
        If there is no such former champion; the message lists the existing ones.
    """
    former = former_champions(registry)
    version = previous_champion(registry) if to is None else next((v for v in former if v.number == to), None)
    if version is None or version.bento is None:
        known = ", ".join(f"{v.number} ({v.name})" for v in former) or "none"
        problem = "There is no former champion" if to is None else f"Version {to} is not a former champion"
        raise ConfigurationError(f"{problem} to roll back to. Former champions: {known}.")
    return promote(registry, version, version.bento)


def reconcile(registry: Registry) -> str | None:
    """Point `sentiment:latest` at the champion's Bento again if a killed run left it behind.

    Returns
    -------
    str or None
        A description of the repair; None if none was needed.

    Raises
    ------
    ArtifactError
        If the champion's Bento is gone.
    """
    champion = registry.champion()
    if champion is None or champion.bento is None:
        return None
    if PROMOTED_TAG not in champion.tags:
        _tag_as_promoted(registry, champion)
    if bento.latest() == bento.promoted_tag(champion.bento):
        return None
    if not bento.exists(champion.bento) and not bento.exists(bento.promoted_tag(champion.bento)):
        raise ArtifactError(
            f"The champion is {champion}, but its Bento {champion.bento} is gone from the Bento store. "
            "Train again, or roll back to a version whose Bento is there."
        )
    served = bento.promote(champion.bento)
    return f"sentiment:latest is {served} again, the Bento of the champion {champion}"
