"""How many labels does it take to know which of two models is better, and how often is that wrong?

    python -m benchmarks.disagreements [--tweets FILE] [--comparisons N]

Two models of the estimates' benchmark answer the tweets that neither has seen (the sample of Sentiment140). Each
comparison draws disagreements between them with replacement, up to 5,000, and looks after each label. For models of
the same quality, the two change sides at random for each tweet. For a challenger that is two points better or worse,
the disagreements that it wins are drawn more or less often.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from scipy.special import betaincinv, ndtri

from benchmarks.estimates.stream import SEED, answered, fit_logistic, fit_models, read_frame, split
from benchmarks.results import machine, table, write
from polarity.config.settings import PROJECT
from polarity.watch.disagreements import LEVEL, log_wealth
from polarity.watch.estimates import Floats

MAX_LABELS = 5_000
POINTS = 0.02
POWER = 0.8


def labels_until(wins: Floats) -> tuple[Floats, Floats]:
    """How many labels each comparison takes until the challenger is found better, and worse; infinite: never."""
    found = []
    for values in (wins, -wins):
        decided = log_wealth(values) >= math.log(2 / LEVEL)
        found.append(np.where(decided.any(axis=1), decided.argmax(axis=1) + 1.0, np.inf))
    return found[0], found[1]


def beside(random: np.random.Generator, comparisons: int) -> str:
    """The same for models that disagree on more tweets: nothing but the share matters once the difference is given."""
    rows = []
    for share in (0.085, 0.12, 0.15):
        wins = random.random((comparisons, MAX_LABELS // 2)) < (1 + POINTS / share) / 2
        right, _ = labels_until(np.where(wins, 1.0, -1.0))
        median, most = np.quantile(right, [0.5, 0.8], method="higher")
        rows.append([f"{share:.1%}", f"{median:,.0f} ({most:,.0f})"])
    return table(["disagreement", "2 points better: labels, median (80 %)"], rows)


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tweets", type=Path, default=PROJECT.parent / "shared/data/sentiment140_sample.csv.gz")
    parser.add_argument("--comparisons", type=int, default=1_000)
    options = parser.parse_args()
    start = machine()
    train, validation, rest = split(read_frame(options.tweets))
    models = fit_models(train, validation)
    served = answered(rest, models.served).correct
    rivals = {
        "without character n-grams": answered(rest, fit_logistic(train, validation, char_ngrams=None)).correct,
        "on half of the tweets": answered(rest, fit_logistic(train[: len(train) // 2], validation)).correct,
        "the stronger ensemble": np.asarray(
            models.stronger.predict_proba(rest["text"].tolist()).argmax(axis=1) == rest["label"].to_numpy()
        ),
    }
    random = np.random.default_rng([SEED, 16])
    rows, figures = [], {}
    for name, rival in rivals.items():
        # of two labels, one of two different answers is right
        won = np.flatnonzero(rival & ~served)
        lost = np.flatnonzero(~rival & served)
        share = (len(won) + len(lost)) / len(rest)
        tilt = POINTS / share
        cells, figure = [], {"disagreement": share}
        for points in (0.0, POINTS, -POINTS):
            chance = (1 + points / share) / 2
            # which tweet it is no longer matters once it is known who is right about it
            pool = np.concatenate([won, lost])
            drawn = random.choice(pool, size=(options.comparisons, MAX_LABELS))
            if points:
                wins = np.where(random.random(drawn.shape) < chance, 1.0, -1.0)
            else:
                wins = np.where(rival[drawn], 1.0, -1.0) * random.choice([-1.0, 1.0], size=drawn.shape)
            better, worse = labels_until(wins)
            if not points:
                false = int((np.isfinite(better) | np.isfinite(worse)).sum())
                upper = float(betaincinv(false + 1, options.comparisons - false, 0.975))
                cells += [f"{false / options.comparisons:.1%} (up to {upper:.1%})"]
                figure |= {"false": false / options.comparisons, "false_upper": upper}
            else:
                right, wrong = (better, worse) if points > 0 else (worse, better)
                median, most = np.quantile(right, [0.5, 0.8], method="higher")
                cells += [f"{median:,.0f} ({most:,.0f}; wrong {np.mean(wrong < right):.1%})"]
                figure |= {f"median_{points:+g}": float(median), f"wrong_{points:+g}": float(np.mean(wrong < right))}
        z, power = float(ndtri(1 - LEVEL / 2)), float(ndtri(POWER))
        mcnemar = math.ceil(((z + power * math.sqrt(1 - tilt**2)) / tilt) ** 2)
        accuracy = float(served.mean())
        groups = math.ceil(2 * accuracy * (1 - accuracy) * ((z + power) / POINTS) ** 2)
        cells += [f"{mcnemar:,}", f"{groups:,} each"]
        rows.append([name, f"{share:.1%}", *cells])
        figures[name] = {**figure, "mcnemar": mcnemar, "groups": groups}
    head = [
        "challenger", "disagreement", "same quality: false verdicts within 5,000 labels",
        "2 points better: labels, median (80 %)", "2 points worse", "McNemar's test", "two groups",
    ]  # fmt: skip
    text = f"{options.comparisons:,} comparisons; {len(rest):,} tweets; the champion is right in {served.mean():.1%}"
    more = beside(random, options.comparisons // 2)
    write("disagreements", f"{start}\n\n{text}\n\n{table(head, rows)}\n\n{more}\n", {"machine": start, "rows": figures})


if __name__ == "__main__":
    main()
