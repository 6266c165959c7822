from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polarity.text.cleaning import repair
from polarity.text.tokens import tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Hello world", "hello world"),
        ("@ann_b: hi", "<user> : hi"),
        ("see http://t.co/aB1 now", "see <url> now"),
        ("see www.example.org/x?y=1", "see <url>"),
        ("bit.ly/abc twitter.com", "<url> <url>"),
        ("end.of sentence", "end . of sentence"),
        ("#MondayBlues", "<hashtag> monday blues"),
        ("#WIN #fail2day", "<hashtag> win <allcaps> <hashtag> fail 2 day"),
        ("# 1", "# <number>"),
        ("5 3,000 5:30 50% $20 -3.5", "<number> <number> <number> <number> <number> <number>"),
        ("2nd gr8 b4", "2nd gr8 b4"),
        ("sooo waaay cooool", "so <elong> way <elong> cool <elong>"),
        ("book", "book"),
        ("GREAT I am", "great <allcaps> i am"),
        ("NOOOO", "no <elong> <allcaps>"),
        ("don't can't won't isn't", "do n't can n't will n't is n't"),
        ("I'm you're he’s it`s they'll we've she'd", "i 'm you 're he 's it 's they 'll we 've she 'd"),
        ("o'clock rock'n'roll", "o'clock rock'n'roll"),
        ("what?! no... wow!!!", "what ! <repeat> no . <repeat> wow ! <repeat>"),
        (":) :-) ;D :D =] (: ^_^ xD", "<smile> <smile> <smile> <smile> <smile> <smile> <smile> <smile>"),
        (":( :'( :-( ): D: T_T -_-", "<sadface> <sadface> <sadface> <sadface> <sadface> <sadface> <sadface>"),
        (":P :-p", "<lolface> <lolface>"),
        (":/ :-\\ :|", "<neutralface> <neutralface> <neutralface>"),
        ("<3 <333 ♥", "<heart> <heart> <heart>"),
        ("a) b) (c)", "a ) b ) ( c )"),
        ("at 10:pm d:x", "at <number> : pm d : x"),
        ("😂😂😂 👍🏽", "😂 <repeat> 👍"),
        ("---- *", "- <repeat> *"),
        ("CAFÉ naïve", "café <allcaps> naïve"),
        ("この映画は最高です！！", "この 映画 は 最高 です ！ <repeat>"),
        ("หนังดีมากกก #รักเลย", "หนัง ดี มาก <elong> <hashtag> รัก เลย"),
        ("الفيلم رائِعٌ جداً", "الفيلم رائِعٌ جداً"),
        ("यह फिल्म अच्छी है #हिन्दी_दिवस", "यह फिल्म अच्छी है <hashtag> हिन्दी दिवस"),
        ("이 영화 정말 좋아요", "이 영화 정말 좋아요"),
        ("", ""),
        ("   ", ""),
    ],
)
def test_tokens_match_the_twitter_vectors(text: str, tokens: str) -> None:
    assert tokenize(text) == tokens.split()


@given(st.text())
def test_tokens_contain_no_spaces(text: str) -> None:
    tokens = tokenize(text)
    assert all(token and not any(ch.isspace() for ch in token) for token in tokens)


@given(
    st.lists(st.sampled_from(["Good", "bad", "@you", "http://x.y/z", "#Tag", ":)", "don't", "12", "!"]), max_size=12)
)
def test_tokens_of_words_do_not_depend_on_their_neighbours(words: list[str]) -> None:
    assert tokenize(" ".join(words)) == [token for word in words for token in tokenize(word)]


def test_a_very_long_run_is_tokenized_in_linear_time() -> None:
    assert tokenize(repair("\U0001f602" * 20_000)) == ["\U0001f602", "<repeat>"]
    assert len(tokenize("a'" * 20_000)) < 50_000
