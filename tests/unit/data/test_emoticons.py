"""Labels by emoticon: which emoticons count, what is left of the text, and how often the labels are wrong."""

from __future__ import annotations

import pytest

from polarity.data.emoticons import LabelNoise, emoticon_label, without_emoticons


@pytest.mark.parametrize(
    ("text", "label", "bare"),
    [
        ("what a day :)", "positive", "what a day"),
        ("what a day :-) really", "positive", "what a day really"),
        ("so good =D", "positive", "so good"),
        ("no bus today :(((", "negative", "no bus today"),
        ("lost it :'(", "negative", "lost it"),
        ("good :) and bad :(", "mixed", "good and bad"),
        ("see http://example.org/a:b (here)", None, "see http://example.org/a:b (here)"),
        ("the list (1:2) ends at 10:)30", None, "the list (1:2) ends at 10:)30"),
        ("nothing", None, "nothing"),
    ],
)
def test_emoticons_label_a_tweet_and_leave_it(text: str, label: str | None, bare: str) -> None:
    assert emoticon_label(text) == label
    assert without_emoticons(text) == bare


def test_noise_is_counted_on_labelled_tweets_with_emoticons_of_one_kind() -> None:
    noise = LabelNoise.measure(
        [("a :)", "positive"), ("b :)", "negative"), ("c :(", "negative"), ("d :) :(", "positive"), ("e", "positive")]
    )
    assert (noise.tweets, noise.wrong) == (3, 1)
    assert noise.in_words().startswith("33.3% of the labels by emoticon are wrong (")
    assert "not known" in LabelNoise(0, 0).in_words()
