"""How often a task has decided, kept as a tag of its registered model."""

from __future__ import annotations

from polarity.data.splits import Splits
from polarity.registry.learned import split_keys
from polarity.registry.promotion import reference_versions
from polarity.registry.versions import Registry, Version
from polarity.selection.decisions import Count, Decisions

DECISIONS_TAG = "decisions"


def count_decision(registry: Registry, candidate: Version, champion: Version, splits: Splits) -> Count:
    """Count a decision between a candidate and the champion.

    The same candidate against the same champion on the same tweets is the same decision, however often it is asked.
    """
    tag = f"decision-{splits.digests['test'][:16]}-{champion.number}"
    known = registry.version(candidate.number).tags.get(tag)
    if known is not None:
        on_test_set, against_reference = known.split()
        return Count(int(on_test_set), int(against_reference))
    anchor = reference_versions(registry)[:1] or [champion]
    decisions = Decisions.from_json(registry.note(DECISIONS_TAG))
    count, decisions = decisions.count(split_keys(splits, "test"), f"{anchor[0].number}")
    # in this order: a run that is killed between the two wastes a number, and never uses one twice
    registry.write_note(DECISIONS_TAG, decisions.to_json())
    registry.tag(candidate.number, {tag: f"{count.on_test_set} {count.against_reference}"})
    return count
