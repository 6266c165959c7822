"""The sentences of each language agree, and a file of a user's own is checked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from polarity.errors import ConfigurationError
from polarity.evaluation.behaviour_tests import sentence_tests
from polarity.evaluation.sentences import FOLDER, Sentences, guess_language, languages, read_sentences, sentences_of

FEMININE = re.compile(r"^(?:cette|la|ma|esta|mi \w+a\b|una|essa|minha|a|questa|una|une)\b")
MASCULINE = re.compile(r"^(?:ce|le|mon|este|mi|el|esse|meu|o|questo|il|un|um)\b")
ARTICLES = {
    "fr": {"une": ("la ", "l'"), "un": ("le ", "l'")},
    "es": {"una": ("la ",), "un": ("el ",)},
    "pt": {"uma": ("a ",), "um": ("o ",)},
    "it": {"una": ("la ",), "un": ("il ", "l'")},
    "de": {"eine": ("die ",), "ein": ("der ", "das ")},
    "en": {"a": ("the ",), "an": ("the ",)},
}


def everything(of: Sentences) -> list[str]:
    """All sentences of a language, those about people included."""
    assert of.identity is not None
    terms = [term for group in of.identity.groups.values() for term in group]
    people = [sentence.format(**term) for sentence in of.identity.sentences for term in terms]
    tests, _ = sentence_tests(of)
    return [*people, *(text for test in tests for case in test.cases for text in case)]


def test_there_are_six_languages() -> None:
    assert languages() == ("de", "en", "es", "fr", "it", "pt")


@pytest.mark.parametrize("language", languages())
def test_all_slots_are_filled_and_the_language_is_recognised(language: str) -> None:
    texts = everything(sentences_of(language))
    assert len(texts) > 500
    assert not [text for text in texts if re.search(r"[{}]|  |None", text)]
    assert guess_language(texts)[0] == language


@pytest.mark.parametrize("language", ["fr", "es", "pt", "it"])
def test_things_have_the_gender_of_their_determiner(language: str) -> None:
    for thing in sentences_of(language).things:
        assert (FEMININE if thing.form == "f" else MASCULINE).match(thing.text), thing
        assert thing.form in ("f", "m")


@pytest.mark.parametrize("language", languages())
def test_articles_of_people_agree(language: str) -> None:
    identity = sentences_of(language).identity
    assert identity is not None
    for term in (term for group in identity.groups.values() for term in group):
        article, _, noun = term["a"].partition(" ")
        assert term["the"].startswith(ARTICLES[language][article]), term
        assert term["the"].removesuffix(noun) != term["the"] or language == "de", term
        if "l'" in term["the"]:
            assert noun[0].lower() in "aeiouhâéèê", term


def test_english_articles_follow_the_sound() -> None:
    for text in everything(sentences_of("en")):
        assert not re.search(r"\ba [aeiouAEIOU]|\ban [^aeiouAEIOU]", text), text


def test_german_datives_have_their_endings() -> None:
    identity = sentences_of("de").identity
    assert identity is not None
    for term in (term for group in identity.groups.values() for term in group):
        assert term["a_dat"].startswith({"eine": "einer ", "ein": "einem "}[term["a"].split()[0]])
        assert term["a"].split()[0] != "eine" or len(term["a"].split()) < 3 or term["a_dat"].split()[1].endswith("en")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"praised": ["{thing} is {god}"]}, "praised: '{thing} is {god}' has the unknown slot god"),
        ({"blamed": ["{thing} is {good}"]}, "has the unknown slot good"),
        ({"good": [{"m": "bon"}]}, "the adjective {'m': 'bon'} lacks the form "),
        ({"identity": {"sentences": ["{a} {b}"], "groups": {"g": [{"a": "x"}]}}}, "lacks b"),
        ({"things": None}, "things: Input should be a valid"),
        ({"nouns": []}, "nouns: Extra inputs are not permitted"),
        ({"names": [True]}, "names.0: Input should be a valid string"),
    ],
)
def test_a_wrong_file_is_refused_with_the_field(tmp_path: Path, change: dict[str, object], message: str) -> None:
    content = yaml.safe_load((FOLDER / "en.yaml").read_text()) | change
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigurationError) as refusal:
        read_sentences(path)
    assert str(path) in str(refusal.value)
    assert message in str(refusal.value)


def test_a_file_that_is_not_there_or_not_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read as sentences"):
        read_sentences(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(ConfigurationError, match="cannot be read as sentences"):
        read_sentences(tmp_path / "broken.yaml")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("je ne sais pas ce que tu veux dire mais c'est trop bien", "fr"),
        ("no sé qué decir pero estoy muy contento con el día", "es"),
        ("ich weiß nicht was das soll aber es ist schon gut", "de"),
        ("eu não sei o que dizer mas tá muito bom", "pt"),
        ("non so che cosa dire ma sono molto contento di questo", "it"),
        ("@bob I don't know what to say but it was so good #friday", "en"),
        ("何も言えないけどとても良かった", None),
        ("لا أعرف ماذا أقول", None),
        ("zarg blip vorn tak mulen", None),
    ],
)
def test_a_language_is_guessed_by_its_function_words(text: str, language: str | None) -> None:
    assert guess_language([text] * 30)[0] == language
    assert guess_language([text] * 3)[0] is None
