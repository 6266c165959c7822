"""Tweets in any language: a sound model is promoted, and one that learned nothing is not. With the real flow."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc
import pytest

from flows.train import train
from polarity.evaluation.examination import Examination
from polarity.evaluation.summary import RunSummary
from polarity.pipeline.config import TrainConfig

pytestmark = [pytest.mark.usefixtures("prefect_server", "module_home"), pytest.mark.timeout(600)]

ROWS = 3000
NOISE = 0.04
TAGS = ("#lundi", "#Concert", "#MiVida", "#cine", "#TardeDeFutbol", "#vacances")


def french(mood: str, draw: random.Random) -> str:
    thing, form = draw.choice(
        [("ce film", "m"), ("la soirée", "f"), ("le match", "m"), ("cette série", "f"), ("mon trajet", "m")]
    )
    good = {"m": ["génial", "super", "parfait", "magnifique"], "f": ["géniale", "super", "parfaite", "magnifique"]}
    bad = {"m": ["nul", "horrible", "mauvais", "triste"], "f": ["nulle", "horrible", "mauvaise", "triste"]}
    adjective = draw.choice((good if mood == "positive" else bad)[form])
    opposite = draw.choice((bad if mood == "positive" else good)[form])
    verb = draw.choice(
        ["j'adore", "j'aime", "merci pour"] if mood == "positive" else ["je déteste", "je hais", "marre de"]
    )
    return draw.choice(
        [
            f"{thing} est vraiment {adjective}",
            f"{verb} {thing}",
            f"franchement {thing} n'est pas {opposite}",
            f"{verb} {thing}, c'est {adjective}",
            f"je trouve que {thing} d'hier est {adjective}",
        ]
    )


def spanish(mood: str, draw: random.Random) -> str:
    thing, form = draw.choice(
        [("este disco", "m"), ("la noche", "f"), ("el partido", "m"), ("esta serie", "f"), ("mi viaje", "m")]
    )
    good = {"m": ["genial", "bonito", "perfecto", "increíble"], "f": ["genial", "bonita", "perfecta", "increíble"]}
    bad = {"m": ["horrible", "malo", "aburrido", "triste"], "f": ["horrible", "mala", "aburrida", "triste"]}
    adjective = draw.choice((good if mood == "positive" else bad)[form])
    opposite = draw.choice((bad if mood == "positive" else good)[form])
    verb = draw.choice(
        ["me encanta", "me gusta", "gracias por"] if mood == "positive" else ["odio", "no soporto", "detesto"]
    )
    return draw.choice(
        [
            f"{thing} es muy {adjective}",
            f"{verb} {thing}",
            f"la verdad es que {thing} no es {opposite}",
            f"{verb} {thing}, qué {adjective}",
            f"creo que {thing} de ayer es {adjective}",
        ]
    )


def made_up(mood: str, draw: random.Random) -> str:
    """Words of made-up syllables, of which some say something."""
    source = random.Random(11)
    words = ["".join(source.choice("ptkmnlrs") + source.choice("aeiou") for _ in range(3)) for _ in range(240)]
    telling = {"positive": words[:20], "negative": words[20:40]}[mood]
    parts = draw.choices(words[40:], k=draw.randint(4, 9)) + draw.choices(telling, k=2)
    draw.shuffle(parts)
    return " ".join(parts)


def corpus(path: Path, sentence: Callable[[str, random.Random], str], *, shuffled: bool) -> Path:
    draw = random.Random(5)
    labels = [draw.choice(("negative", "positive")) for _ in range(ROWS)]
    texts = []
    for number, label in enumerate(labels):
        mood = label if draw.random() > NOISE else ("positive" if label == "negative" else "negative")
        extra = draw.choice(["", "", f" {draw.choice(TAGS)}", f" @ami{number}", " !!"])
        texts.append(f"{sentence(mood, draw)}{extra} {number}")
    if shuffled:
        draw.shuffle(labels)
    pc.write_csv(pa.table({"text": texts, "label": labels}), path)
    return path


@pytest.mark.parametrize(
    "sentence", [french, *(pytest.param(one, marks=pytest.mark.soak) for one in (spanish, made_up))]
)
def test_a_sound_model_is_promoted_and_one_that_learned_nothing_is_not(
    sentence: Callable[[str, random.Random], str], tmp_path: Path, module_home: Path
) -> None:
    def run(*, shuffled: bool) -> RunSummary:
        path = corpus(tmp_path / f"{shuffled}.csv", sentence, shuffled=shuffled)
        task = f"{sentence.__name__.replace('_', '-')}-{str(shuffled).lower()}"
        config = {"models": ["logistic"], "data": {"path": str(path)}, "task": task}
        summary: RunSummary = train(TrainConfig.model_validate(config))
        return summary

    sound = run(shuffled=False)
    assert sound.models[0].test["accuracy"] > 0.85
    assert sound.verdict.promoted, sound.verdict.reason
    behaviour = Examination.read(module_home / "runs" / sound.run_id / "logistic").behaviour
    language = {french: "French", spanish: "Spanish"}.get(sentence)
    assert (f"The sentences are {language}" if language else "No sentences") in behaviour.language
    tested = {result.name for result in behaviour.results}
    assert {"links", "mentions", "typos", "emoji", "typical_words"} <= tested
    assert ("plain_positive" in tested) is (language is not None)

    broken = run(shuffled=True)
    assert not broken.verdict.promoted
    assert broken.verdict.selected is None
    assert "its validation accuracy is not shown to be above" in broken.verdict.reason
