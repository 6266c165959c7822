from __future__ import annotations

from polarity.scoring.record import ScoringSummary


def test_labels_and_dates_are_text_in_the_markdown_page() -> None:
    attack = "<img src=x onerror=alert(1)> ![x](http://evil.example/x) | `a`"
    summary = ScoringSummary(
        source="tweets.csv", model="a model", labels=(attack,), folder="runs/x", rows=2, scored=2,
        sentiments={attack: 2}, unscored={}, days={"2009-04-01": {attack: 2}}, hashtags={}, undated=1,
        undated_examples=(attack,),
    )  # fmt: skip
    page = summary.markdown()
    assert "<" not in page
    assert page.count(r"\!\[x\](http") == 3, "the class, the day's column and the example of a date"
    assert page.count(r"\| \`a\`") == 3
