"""What a run of the loop leaves: `loop.json` and `loop.png`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ops.loop.traffic import Sent
from ops.loop.tweets import Kind
from polarity.evaluation.metrics import wilson_interval
from polarity.evaluation.plots import FAINT, INK, PALETTE, styled, to_png
from polarity.record.windows import JudgedWindow

LEAST_GAIN = 0.04
MOST_WINDOWS = 2
LEAST_ORDINARY = 20
_POINT = 500
_LEAST_POINT = 100


@dataclass(frozen=True)
class Accuracy:
    """The share of right answers among `rows`, with its 95 % interval."""

    rows: int
    accuracy: float
    interval: tuple[float, float]

    @classmethod
    def of(cls, sent: Sequence[Sent]) -> Accuracy | None:
        """None without answers."""
        if not sent:
            return None
        right = sum(one.correct for one in sent)
        return cls(len(sent), right / len(sent), wilson_interval(right, len(sent)))


@dataclass(frozen=True)
class Window:
    """A window of answers as the monitor judged it, with the accuracy that the loop knows; `n` is its size."""

    n: int
    kind: Kind
    alarm: bool
    accuracy: float | None
    interval: tuple[float, float] | None
    champion: str

    @classmethod
    def of(cls, judged: JudgedWindow, sent: Sequence[Sent]) -> Window:
        """Describe a judged window by its answers, which are among `sent`."""
        first = judged.id.partition(" ")[2]
        mine = [s for s in sent if s.version == judged.version and first <= s.prediction_id <= judged.last_id]
        measured = Accuracy.of(mine)
        moved = sum(one.tweet.kind == "moved" for one in mine) > len(mine) / 2
        return cls(
            judged.answers,
            "moved" if moved else "ordinary",
            judged.effect > 1,
            None if measured is None else measured.accuracy,
            None if measured is None else measured.interval,
            judged.version,
        )


@dataclass(frozen=True)
class CanaryMove:
    """A decision at a share of the clients, after so many labels of the comparison."""

    share: float
    labels: int
    decision: str


@dataclass(frozen=True)
class BadChallenger:
    """What trying a bad challenger cost: the answers that it gave to clients; and how that ended."""

    answers: int
    decision: str


@dataclass(frozen=True)
class Event:
    """Something that happened; one with a `mark` is drawn."""

    at: float
    text: str
    mark: str = ""


@dataclass
class LoopReport:
    """The content of `loop.json`."""

    sent: int = 0
    answered: int = 0
    lost: int = 0
    windows: list[Window] = field(default_factory=list)
    detected_after_windows: int | None = None
    seconds_to_new_champion: float | None = None
    before: Accuracy | None = None
    after: Accuracy | None = None
    canary: list[CanaryMove] = field(default_factory=list)
    bad_challenger: BadChallenger | None = None
    mails: list[str] = field(default_factory=list)

    @property
    def false_alarms(self) -> int:
        return sum(window.alarm for window in self.windows if window.kind == "ordinary")

    @property
    def ordinary(self) -> int:
        """Number of windows before the tweets changed."""
        return sum(window.kind == "ordinary" for window in self.windows)

    def detect(self) -> None:
        """Count the windows of the other kind until the first alarm, that one included."""
        moved = [window.alarm for window in self.windows if window.kind == "moved"]
        self.detected_after_windows = moved.index(True) + 1 if True in moved else None

    def shortcomings(self, *, killed: bool = False) -> list[str]:
        """What did not go as it should, in words; where servers were killed, requests may be lost, but no answer."""
        found = []
        if self.lost and not killed:
            found.append(f"{self.lost} of {self.sent:,} requests were lost.")
        if (self.ordinary < LEAST_ORDINARY and not killed) or self.false_alarms:
            found.append(f"{self.false_alarms} of {self.ordinary} ordinary windows alarmed.")
        if self.detected_after_windows is None or self.detected_after_windows > MOST_WINDOWS:
            found.append(f"Drift was found after {self.detected_after_windows} windows.")
        if self.before is None or self.after is None or self.after.accuracy < self.before.accuracy + LEAST_GAIN:
            found.append("The new champion is not better by four points on the other tweets.")
        if self.seconds_to_new_champion is None:
            found.append("No candidate became champion.")
        if not any("rift" in subject for subject in self.mails):
            found.append("No mail about drift arrived.")
        if self.bad_challenger is None or not self.bad_challenger.decision.startswith("back"):
            found.append("The bad challenger did not go back.")
        return found

    def write(self, folder: Path) -> Path:
        """Write `loop.json`."""
        path = folder / "loop.json"
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path


def draw(report: LoopReport, sent: Sequence[Sent], events: Sequence[Event], started: float) -> Figure:
    """Draw the accuracy of the answers over time, by the model that gave them, with the events."""
    answered = [one for one in sent if one.answered]
    versions = list(dict.fromkeys(one.version for one in answered))
    with styled():
        figure = Figure(figsize=(11, 5.6), layout="constrained")
        panel, below = figure.subplots(2, 1, sharex=True, height_ratios=(5, 1))
        for place, version in enumerate(versions):
            points = _points([one for one in answered if one.version == version])
            if not points:
                continue
            at = [(moment - started) / 60 for moment, _ in points]
            low, high = zip(*(of.interval for _, of in points))
            colour = PALETTE[place % len(PALETTE)]
            panel.fill_between(at, low, high, color=colour, alpha=0.18, linewidth=0)
            name = version if len(version) < 24 else f"{version[:24]}…"
            panel.plot(at, [of.accuracy for _, of in points], "o-", color=colour, markersize=3.5, label=name)
        for number, event in enumerate(event for event in events if event.mark):
            minute = (event.at - started) / 60
            panel.axvline(minute, color=INK, linewidth=0.7, alpha=0.45)
            below.axvline(minute, color=INK, linewidth=0.7, alpha=0.45)
            panel.annotate(
                event.mark, (minute, 1.0), (2, 3 + 10 * (number % 4)), xycoords=("data", "axes fraction"),
                textcoords="offset points", fontsize=8, annotation_clip=False,
            )  # fmt: skip
        panel.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        panel.set_ylabel(f"right answers of each {_POINT}")
        panel.legend(loc="lower left", fontsize=8.5, title="answered by", title_fontsize=8.5)
        edges = np.arange(0, (answered[-1].at - started) / 60 + 0.5, 0.25)
        middle = (edges[:-1] + edges[1:]) / 2
        counts = np.array(
            [np.histogram([(o.at - started) / 60 for o in answered if o.version == v], edges)[0] for v in versions]
        )
        shares = counts / np.maximum(counts.sum(axis=0), 1)
        colours = [PALETTE[place % len(PALETTE)] for place in range(len(versions))]
        below.stackplot(middle, shares, colors=colours, alpha=0.7, step="mid", linewidth=0)
        below.set(ylim=(0, 1), yticks=[0, 1], ylabel="answers", xlabel="minutes since the start")
        below.set_yticklabels(["0%", "100%"])
        below.grid(visible=False)
        below.spines["left"].set_color(FAINT)
    return figure


def write_picture(figure: Figure, folder: Path) -> Path:
    """Write `loop.png`."""
    path = folder / "loop.png"
    path.write_bytes(to_png(figure))
    return path


def _points(sent: Sequence[Sent]) -> list[tuple[float, Accuracy]]:
    """The accuracy of consecutive answers to tweets of one kind, with the time of the middle one."""
    found = []
    for _, group in groupby(sent, key=lambda one: one.tweet.kind):
        of_kind = list(group)
        for start in range(0, len(of_kind), _POINT):
            part = of_kind[start : start + _POINT]
            measured = Accuracy.of(part)
            if measured is not None and len(part) >= _LEAST_POINT:
                found.append((part[len(part) // 2].at, measured))
    return found
