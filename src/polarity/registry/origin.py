"""Where a task's tweets come from: a champion is replaced only by a model that learned from the same line of data."""

from __future__ import annotations

import re

import numpy as np

from polarity.config.credentials import without_credentials
from polarity.data.splits import SPLIT_NAMES, Splits
from polarity.pipeline.config import TrainConfig
from polarity.registry.learned import Hashes, hashes, split_keys

LINE_TAG = "line"
SAME_SHARE = 0.5
"""Share of what the champion learned from that shows, if it is found in today's tweets, that they are the same line."""

_CHANGING = re.compile(r"[\d_:T-]*\d[\d_:T-]*")


def line_of(config: TrainConfig) -> str:
    """The name of a run's line of data: as given, or its file without the numbers and dates in its name."""
    if config.line:
        return config.line
    if config.data.source == "generated" or config.data.path is None:
        return config.data.source
    if isinstance(config.data.path, str):
        folder, _, name = without_credentials(config.data.path).rpartition("/")
        return f"{folder}/{_CHANGING.sub('#', name)}"
    path = config.data.path.resolve()
    return str(path.with_name(_CHANGING.sub("#", path.name)))


def other_origin(
    champion: str,
    *,
    line: str,
    champion_line: str | None,
    labels: tuple[str, ...],
    champion_labels: tuple[str, ...],
    splits: Splits,
    learned: Hashes | None,
) -> str | None:
    """Why today's tweets are not those that the champion is champion of, or None.

    Parameters
    ----------
    champion : str
        Its display name.
    line, champion_line : str
        Names of the lines of data; None for a version registered before lines were recorded.
    labels, champion_labels : tuple of str
        The class sets.
    splits : Splits
        Of today's tweets.
    learned : uint64 array or None
        What the champion learned from (`polarity.registry.learned`).
    """
    how = "give the task another name with --task, or replace the champion with --promote"
    if labels != champion_labels:
        return (
            f"{champion} answers {', '.join(champion_labels)} and this model {', '.join(labels)}, so nothing is "
            f"replaced: {how}."
        )
    if champion_line is None or line == champion_line or learned is None:
        return None
    today = np.concatenate([hashes(split_keys(splits, split)) for split in SPLIT_NAMES])
    share = float(np.isin(learned, today).mean()) if len(learned) else 0.0
    if share >= SAME_SHARE:
        return None
    return (
        f"{champion} learned from other tweets ({champion_line}; {share:.0%} of them are in today's {line}), so "
        f"nothing is replaced: {how}. If these tweets continue the earlier ones, give both the same name with --line."
    )
