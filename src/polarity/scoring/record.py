"""The summary of a scored set: `summary.json`, a table and a Markdown page."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from polarity.scoring.scoring import Scoring
from polarity.scoring.tally import OTHER_DATES, Counts, Tally

SUMMARY_FILE = "summary.json"
MOST_HASHTAGS = 100
SHOWN_HASHTAGS = 15
_SHOWN_DAYS = 31


@dataclass(frozen=True)
class ScoringSummary:
    """The counts of a scoring, as `summary.json` holds them."""

    source: str
    model: str
    labels: tuple[str, ...]
    folder: str
    rows: int
    scored: int
    sentiments: Counts
    unscored: Counts
    days: Mapping[str, Counts]
    """By day, in order; empty if the tweets have no dates."""
    hashtags: Mapping[str, Counts]
    """The hundred most frequent hashtags, most frequent first."""
    undated: int = 0
    """Scored rows that count for no day, because their date is missing or cannot be read."""
    undated_examples: tuple[str, ...] = ()
    """Some of those dates, most frequent first."""

    @classmethod
    def read(cls, folder: Path) -> ScoringSummary:
        """Read what `write_summary` wrote."""
        record = json.loads((folder / SUMMARY_FILE).read_text())
        lists = {name: tuple(record.get(name, ())) for name in ("labels", "undated_examples")}
        return cls(**{**record, **lists, "folder": str(folder)})

    def table(self) -> list[dict[str, str]]:
        """One row per sentiment, then one per reason for not scoring."""
        rows = [
            {"sentiment": label, "tweets": f"{self.sentiments.get(label, 0):,}",
             "share": f"{self.sentiments.get(label, 0) / max(1, self.scored):.1%}"}
            for label in self.labels
        ]  # fmt: skip
        rows += [
            {"sentiment": f"not scored: {reason}", "tweets": f"{count:,}", "share": "-"}
            for reason, count in self.unscored.items()
        ]
        if self.undated:
            examples = ", ".join(repr(date) if date else "none" for date in self.undated_examples[:3])
            title = f"in no day, their date cannot be read ({examples})"
            share = f"{self.undated / max(1, self.scored):.1%}"
            rows.append({"sentiment": title, "tweets": f"{self.undated:,}", "share": share})
        return rows

    def markdown(self) -> str:
        """The summary as Markdown."""
        parts = [
            f"# {self.source}",
            f"{self.scored:,} of {self.rows:,} rows were scored by {self.model}. The result is in `{self.folder}`.",
            _markdown(["sentiment", "tweets", "share"], [list(row.values()) for row in self.table()]),
        ]
        for title, counts, most in (
            ("Days", self.days, _SHOWN_DAYS),
            ("Hashtags", {f"#{tag}": of for tag, of in self.hashtags.items()}, SHOWN_HASHTAGS),
        ):
            if counts:
                shown = list(counts.items())[:most]
                rows = [[name, *(f"{of.get(label, 0):,}" for label in self.labels)] for name, of in shown]
                parts += [f"## {title}", _markdown([title[:-1].lower(), *self.labels], rows)]
                if len(counts) > most:
                    parts.append(f"The first {most} of {len(counts)}; see `{SUMMARY_FILE}` for more.")
        return "\n\n".join(parts) + "\n"


def write_summary(scoring: Scoring, tally: Tally) -> ScoringSummary:
    """Write `summary.json` into the scoring's folder."""
    frequent = sorted(tally.hashtags.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    summary = ScoringSummary(
        source=scoring.source.source,
        model=scoring.model.title,
        labels=scoring.model.manifest.labels,
        folder=str(scoring.folder),
        rows=tally.rows,
        scored=sum(tally.sentiments.values()),
        sentiments=tally.sentiments,
        unscored=tally.unscored,
        days=dict(sorted(tally.days.items())),
        hashtags=dict(frequent[:MOST_HASHTAGS]),
        undated=sum(tally.undated.values()),
        undated_examples=tuple(date for date, _ in Counter(tally.undated).most_common(10) if date != OTHER_DATES),
    )
    (scoring.folder / SUMMARY_FILE).write_text(json.dumps(vars(summary), indent=1, ensure_ascii=False) + "\n")
    return summary


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    ruler = line(["---", *["---:"] * (len(header) - 1)])
    return "\n".join([line(_literal(header)), ruler, *(line(_literal(row)) for row in rows)])


def _literal(cells: list[str]) -> list[str]:
    """Escape what Markdown would read as markup: labels, dates and hashtags come from strangers' files."""
    return [html.escape(re.sub(r"([\\`*_\[\]|!])", r"\\\1", cell), quote=False) for cell in cells]
