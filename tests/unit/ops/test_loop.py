"""The record of the loop, from windows and answers as they are, and its tweets of two kinds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ops.loop.__main__ import environment_of
from ops.loop.report import Accuracy, BadChallenger, CanaryMove, Event, LoopReport, Window, draw, write_picture
from ops.loop.traffic import Sent
from ops.loop.tweets import Kind, Tweet, generated
from polarity.record.windows import JudgedWindow

START = 1_000_000.0


def answers(kind: Kind, version: str, *, first: int, right: int, rows: int = 500) -> list[Sent]:
    """Answers of which the first `right` are right, one a second."""
    return [
        Sent(
            START + number,
            Tweet("so good", "positive", kind),
            f"{number:06d}",
            "positive" if number < first + right else "negative",
            version,
        )
        for number in range(first, first + rows)
    ]


def judged(version: str, first: int, effect: float) -> JudgedWindow:
    return JudgedWindow(
        f"{version} {first:06d}", version, START + first, START + first + 499, f"{first + 499:06d}", 500, effect, ""
    )


@pytest.fixture
def sent() -> list[Sent]:
    found = [one for n in range(20) for one in answers("ordinary", "old", first=500 * n, right=400)]
    found += answers("moved", "old", first=10_000, right=300) + answers("moved", "old", first=10_500, right=310)
    found += answers("moved", "new", first=11_000, right=420)
    return [*found, Sent(START + 11_600, Tweet("so bad", "negative", "moved"))]


@pytest.fixture
def report(sent: list[Sent]) -> LoopReport:
    windows = [judged("old", 500 * n, 0.5) for n in range(20)]
    windows += [judged("old", 10_000, 0.9), judged("old", 10_500, 3.0), judged("new", 11_000, 0.4)]
    found = LoopReport(
        sent=len(sent),
        answered=len(sent) - 1,
        lost=1,
        windows=[Window.of(window, sent) for window in windows],
        seconds_to_new_champion=300.0,
        before=Accuracy.of(sent[10_000:11_000]),
        after=Accuracy.of(sent[11_000:11_500]),
        canary=[CanaryMove(0.0, 0, "up"), CanaryMove(1.0, 90, "passed")],
        bad_challenger=BadChallenger(0, "back: It answers 20 of 60 texts as the champion does."),
        mails=["[Polarity] drift: 3.00 times the threshold"],
    )
    found.detect()
    return found


def test_the_record_has_the_form_that_is_promised(report: LoopReport, tmp_path: Path) -> None:
    found = json.loads(report.write(tmp_path).read_text())
    assert list(found) == [
        "sent", "answered", "lost", "windows", "detected_after_windows", "seconds_to_new_champion", "before", "after",
        "canary", "bad_challenger", "mails",
    ]  # fmt: skip
    assert (found["sent"], found["answered"], found["lost"]) == (11_501, 11_500, 1)
    first, changed, last = found["windows"][0], found["windows"][20], found["windows"][-1]
    assert {name: first[name] for name in ("n", "kind", "alarm", "accuracy", "champion")} == {
        "n": 500, "kind": "ordinary", "alarm": False, "accuracy": 0.8, "champion": "old",
    }  # fmt: skip
    assert first["interval"][0] < 0.8 < first["interval"][1]
    assert (changed["kind"], changed["accuracy"]) == ("moved", 0.6)
    assert (last["champion"], last["accuracy"]) == ("new", 0.84)
    assert found["detected_after_windows"] == 2
    assert found["before"]["accuracy"] == 0.61 and found["before"]["rows"] == 1_000
    assert found["canary"][-1] == {"share": 1.0, "labels": 90, "decision": "passed"}
    assert found["bad_challenger"]["answers"] == 0


def test_shortcomings_are_named(report: LoopReport) -> None:
    assert report.shortcomings() == ["1 of 11,501 requests were lost."]
    report.lost, report.after, report.mails = 0, report.before, []
    report.windows = report.windows[1:20]
    report.detect()
    assert report.shortcomings() == [
        "0 of 19 ordinary windows alarmed.",
        "Drift was found after None windows.",
        "The new champion is not better by four points on the other tweets.",
        "No mail about drift arrived.",
    ]


def test_the_picture_is_drawn(report: LoopReport, sent: list[Sent], tmp_path: Path) -> None:
    events = [Event(START + 10_000, "The tweets change.", "other tweets"), Event(START + 11_000, "", "new champion")]
    figure = draw(report, sent, events, START)
    above, _ = figure.axes
    assert [line.get_label() for line in above.get_lines() if len(line.get_xdata()) > 2] == ["old"]
    assert {text.get_text() for text in above.texts} == {"other tweets", "new champion"}
    assert write_picture(figure, tmp_path).read_bytes().startswith(b"\x89PNG")


def test_generated_tweets_are_of_two_kinds_and_none_is_used_twice() -> None:
    found = generated(training=300, ordinary=200, moved=400, last=50)
    lists = (found.training, found.ordinary, found.moved, found.tried, found.last)
    texts = [tweet.text for of in lists for tweet in of]
    assert len(texts) == len(set(texts))
    assert [len(found.training), len(found.ordinary), len(found.last)] == [300, 200, 50]
    assert "goated" in " ".join(tweet.text for tweet in found.moved)
    assert "goated" not in " ".join(tweet.text for tweet in found.ordinary)


def test_nothing_of_the_users_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLARITY_MLFLOW_URI", "postgresql://somewhere/mlflow")
    monkeypatch.setenv("PREFECT_API_URL", "http://somewhere/api")
    monkeypatch.setenv("BENTOML_HOME", "/somewhere")
    environment = environment_of(tmp_path)
    assert not any("somewhere" in value for value in environment.values())
    assert environment["BENTOML_HOME"].startswith(str(tmp_path))
