from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polarity.text.cleaning import repair


@pytest.mark.parametrize(
    ("broken", "repaired"),
    [
        ("  two  spaces\t", "two spaces"),
        ("fish &amp; chips", "fish & chips"),
        ("&amp;lt;3 you", "<3 you"),
        ("caf\u00c3\u00a9", "caf\u00e9"),
        ("we won \u00e2\x99\u00a5", "we won \u2665"),
        ("don\\u2019t go\\u002c please", "don't go, please"),
        ("nice \\ud83d\\ude00", "nice \U0001f600"),
        ("a\x00b\x07c", "abc"),
        ('"never closed', "never closed"),
        ('"closed"', '"closed"'),
        ("soooo GOOD!!! :) @you #tag http://t.co/x", "soooo GOOD!!! :) @you #tag http://t.co/x"),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467 family", "\U0001f468\u200d\U0001f469\u200d\U0001f467 family"),
        ("", ""),
    ],
)
def test_damage_is_repaired_and_nothing_else_changes(broken: str, repaired: str) -> None:
    assert repair(broken) == repaired


@given(st.text(st.characters(exclude_categories=()), max_size=80))
@example("\ud800 lone \udc00")
@example("&amp;amp;amp;lt;")
@example('""" " "')
def test_repair_is_idempotent_for_any_string(text: str) -> None:
    repaired = repair(text)
    assert repair(repaired) == repaired
    assert repaired == repaired.strip()
    repaired.encode("utf-8")  # no lone surrogate is left
