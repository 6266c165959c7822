from __future__ import annotations

from time import process_time

import emoji
import pandas as pd
import pytest
from transformers.models.bertweet.tokenization_bertweet import BertweetTokenizer, TweetTokenizer

from polarity.families.encoder_tokenizers import emoji_names
from polarity.text.bertweet import TweetNormaliser
from polarity.text.cleaning import repair
from tests.encoders import corpus

NORMALISE = TweetNormaliser(emoji_names())


def reference() -> BertweetTokenizer:
    """The normaliser of `transformers`, without the vocabulary that its constructor needs."""
    tokenizer = BertweetTokenizer.__new__(BertweetTokenizer)
    tokenizer.special_puncts = {"’": "'", "…": "..."}
    tokenizer.tweetPreprocessor = TweetTokenizer()
    tokenizer.demojizer = emoji.demojize
    return tokenizer


@pytest.mark.parametrize(
    ("tweet", "expected"),
    [
        ("@ann see http://t.co/x or www.example.com!", "@USER see HTTPURL or HTTPURL !"),
        ("I can't, don't and cannot say she's 5'4", "I can't , do n't and can not say she 's 5 ' 4"),
        ("so happy :-) <3 \U0001f602\u2764\ufe0f", "so happy :-) <3 :face_with_tears_of_joy: :red_heart:"),
        ("bit.ly/abc mail me@example.org #good-day!!!!!", "bit.ly/abc mail me@example.org #good-day ! ! !"),
        ("wait… what’s this . . . ?", "wait ... what 's this . . . ?"),
        ("", ""),
    ],
)
def test_tweets_become_what_bertweet_was_pretrained_on(tweet: str, expected: str) -> None:
    assert NORMALISE(tweet) == expected
    assert reference().normalizeTweet(tweet) == expected


def test_the_generated_corpus_is_normalised_as_by_transformers() -> None:
    texts = [repair(text) for text in corpus(600)]
    assert [NORMALISE(text) for text in texts] == [reference().normalizeTweet(text) for text in texts]


@pytest.mark.realdata
def test_real_tweets_are_normalised_as_by_transformers(shared_data) -> None:
    frame = pd.read_csv(shared_data / "sentiment140_sample.csv.gz")
    texts = [repair(text) for text in frame["text"].sample(4000, random_state=3)]
    same = [NORMALISE(text) == reference().normalizeTweet(text) for text in texts]
    assert sum(same) >= 0.999 * len(same)


@pytest.mark.parametrize(
    "part", ["!?", "a.b", "a-", "@", "<", ". ", "x@", "a@b.", "1-", "#a'", "a+", "<a", "x.yy/", "http://", "a_", "'a"]
)
def test_the_time_is_linear_in_the_length_of_a_hostile_text(part: str) -> None:
    def seconds(times: int) -> float:
        best = float("inf")
        for _ in range(3):
            started = process_time()
            NORMALISE(f"http://{part * times}'")
            best = min(best, process_time() - started)
        return best

    assert seconds(8000) < 64 * max(seconds(1000), 1e-4)
