"""Make a registered version the champion, with one commit point: the alias in the registry.

Order: the Bento is built under a candidate's name and has answered real
requests before anything here runs; the version learns its Bento; the alias
moves (that is the commit); `sentiment:latest` follows. What a killed run left
between the last two is mended by `reconcile`, at the start of the next run.
"""

from __future__ import annotations

from dataclasses import dataclass

from polarity.errors import ArtifactError
from polarity.packaging import bento_store as bento
from polarity.registry import Registry, Version

BENTO_TAG = "bento"


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
    except BaseException:
        registry.set_champion(before.number if before else None)
        raise
    return Promotion(registry.version(version.number), served, before)


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
    if bento.latest() == bento.promoted_tag(champion.bento):
        return None
    if not bento.exists(champion.bento) and not bento.exists(bento.promoted_tag(champion.bento)):
        raise ArtifactError(
            f"The champion is {champion}, but its Bento {champion.bento} is gone from the Bento store. "
            "Train again, or roll back to a version whose Bento is there."
        )
    served = bento.promote(champion.bento)
    return f"sentiment:latest is {served} again, the Bento of the champion {champion}"
