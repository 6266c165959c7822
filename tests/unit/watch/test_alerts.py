"""The messages of alerts."""

from __future__ import annotations

from polarity.record.history import Span
from polarity.watch.alerts import firing_text
from polarity.watch.measure import Measure
from polarity.watch.production import Finding
from polarity.watch.rules import Rule

RULE = Rule(name="drift", measure="drift", at_least=1)


def finding(method: str) -> Finding:
    measure = Measure("drift", Span(0, 60), 7.02, "times the threshold", 500, method)
    return Finding(measure, True, "at least 1")


def test_a_subject_fits_a_list_of_mails_and_the_message_has_all_of_it() -> None:
    words = ", ".join(f"“word{n}” in 13%, not 1%" for n in range(30))
    text = firing_text(RULE, finding(words), 0.0, "")
    assert text.subject.startswith("[Polarity] drift: 7.02 times the threshold in 500 answers (“word0” in 13%")
    assert text.subject.endswith(" …")
    assert len(text.subject) <= 140
    assert words in text.body


def test_a_short_subject_is_complete() -> None:
    assert firing_text(RULE, finding("scores"), 0.0, "").subject == (
        "[Polarity] drift: 7.02 times the threshold in 500 answers (scores)"
    )
