"""Make a registered version the champion, with one commit point: the alias in the registry.

Order: the Bento is built under a candidate's name and has answered real
requests before anything here runs; the version learns its Bento; the alias
moves (that is the commit); `sentiment:latest` follows. What a killed run left
between the last two is mended by `reconcile`, at the start of the next run.
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
    """What changed: the new champion, its Bento, and who was champion before."""

    champion: Version
    bento: str
    before: Version | None


def promote(registry: Registry, version: Version, candidate: str) -> Promotion:
    """Make `version`, served by the Bento `candidate`, the champion.

    If the Bento cannot take its place, the alias goes back to where it was and the error is raised.
    """
    registry.tag(version.number, {BENTO_TAG: candidate})
    before = registry.set_champion(version.number)
    try:
        served = bento.promote(candidate)
        _note(registry, version)
    except BaseException:
        registry.set_champion(before.number if before else None)
        raise
    return Promotion(registry.version(version.number), served, before)


def _note(registry: Registry, version: Version) -> None:
    """Only who was champion can be a former one."""
    registry.tag(version.number, {PROMOTED_TAG: datetime.now(UTC).isoformat()})


def former_champions(registry: Registry) -> list[Version]:
    """Versions that were champion and are no more, and whose Bento is known, in the order of their promotion."""
    today = registry.champion()
    former = [v for v in registry.versions() if PROMOTED_TAG in v.tags and v.bento and v != today]
    return sorted(former, key=lambda version: version.tags[PROMOTED_TAG])


def previous_champion(registry: Registry) -> Version | None:
    """The version that was promoted last before today's champion: what `rollback` puts back."""
    former, today = former_champions(registry), registry.champion()
    if today is not None:
        former = [v for v in former if v.tags[PROMOTED_TAG] < today.tags.get(PROMOTED_TAG, "")]
    return former[-1] if former else None


def rollback(registry: Registry, to: int | None = None) -> Promotion:
    """Put a former champion back, alias and Bento.

    Parameters
    ----------
    registry : Registry
    to : int, optional
        The version. Default: the one that was promoted last before today's champion.

    Raises
    ------
    ConfigurationError
        If there is no such former champion; the message lists those that there are.
    """
    former = former_champions(registry)
    version = previous_champion(registry) if to is None else next((v for v in former if v.number == to), None)
    if version is None or version.bento is None:
        known = ", ".join(f"{v.number} ({v.name})" for v in former) or "none"
        asked = "There is no former champion" if to is None else f"Version {to} is no former champion"
        raise ConfigurationError(f"{asked} to go back to. Former champions: {known}.")
    return promote(registry, version, version.bento)


def reconcile(registry: Registry) -> str | None:
    """Let `sentiment:latest` be the champion's Bento, whatever a killed run left.

    Returns
    -------
    str or None
        What was mended, in words; none if nothing was amiss.

    Raises
    ------
    ArtifactError
        If the champion's Bento is gone.
    """
    champion = registry.champion()
    if champion is None or champion.bento is None:
        return None
    if PROMOTED_TAG not in champion.tags:
        _note(registry, champion)
    if bento.latest() == bento.promoted_tag(champion.bento):
        return None
    if not bento.exists(champion.bento) and not bento.exists(bento.promoted_tag(champion.bento)):
        raise ArtifactError(
            f"The champion is {champion}, but its Bento {champion.bento} is gone from the Bento store. "
            "Train again, or roll back to a version whose Bento is there."
        )
    served = bento.promote(champion.bento)
    return f"sentiment:latest is {served} again, the Bento of the champion {champion}"
