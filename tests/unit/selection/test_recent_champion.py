"""With recent tweets a candidate must be better on them, and not worse on the old ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from polarity.config.sections import PolicyConfig
from polarity.evaluation.predictions import Predictions
from polarity.evaluation.verdict import Verdict
from polarity.selection.champion import Opponent, compare_with_champion
from polarity.selection.decisions import Count

OLD, RECENT = 2000, 1000


def predictions(right_old: float, right_recent: float, seed: int) -> Predictions:
    random = np.random.default_rng(seed)
    labels = np.arange(OLD + RECENT) % 2
    right = random.random(OLD + RECENT) < np.r_[np.full(OLD, right_old), np.full(RECENT, right_recent)]
    positive = np.where(right == (labels == 1), 0.9, 0.1).astype(np.float32)
    columns = pd.DataFrame(index=range(OLD + RECENT))
    return Predictions(labels, np.c_[1 - positive, positive], ("negative", "positive"), columns)


@pytest.mark.parametrize(
    ("old", "recent", "rows", "promoted", "words"),
    [
        (0.8, 0.8, 100, True, "is not worse than"),
        (0.8, 0.6, 100, False, "not shown to be better than champion on the recent tweets"),
        (0.7, 0.8, 100, False, "may be worse than champion"),
        (0.8, 0.8, 2000, False, "Only 1,000 recent test tweets"),
    ],
)
def test_both_parts_decide(old: float, recent: float, rows: int, promoted: bool, words: str) -> None:
    verdict = compare_with_champion(
        Verdict("logistic", True, "Chosen.", ()),
        predictions(old, recent, 1),
        [Opponent("champion", "champion", predictions(0.8, 0.6, 2), np.zeros(OLD + RECENT, bool))],
        count=Count(1, 1),
        policy=PolicyConfig(margin=0.06),
        seed=1,
        recent=np.arange(OLD + RECENT) >= OLD,
        min_recent_rows=rows,
    )
    assert verdict.promote == promoted
    assert words in verdict.reason
    if rows == 100:
        assert [(one.part, one.rows) for one in verdict.comparisons] == [("old", OLD), ("recent", RECENT)]
