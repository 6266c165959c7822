"""Tweets in any language: a sound model is promoted, and one that learned nothing is not. With the real flow."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.csv as pc
import pytest

from flows.train import train
from polarity.bento.server import served
from polarity.bento.store import bento_folder
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


def japanese(mood: str, draw: random.Random) -> str:
    thing = draw.choice(["この映画", "昨日のライブ", "今日のランチ", "新しいアルバム", "電車"])
    good, bad = ["最高", "素敵", "完璧"], ["最悪", "退屈", "残念"]
    adjective = draw.choice(good if mood == "positive" else bad)
    opposite = draw.choice(bad if mood == "positive" else good)
    verb = draw.choice(["大好き", "楽しかった"] if mood == "positive" else ["大嫌い", "疲れた"])
    return draw.choice(
        [
            f"{thing}は本当に{adjective}です",
            f"{thing}{verb}！",
            f"{thing}は{opposite}じゃない",
            f"{adjective}だった{thing}",
        ]
    )


def thai(mood: str, draw: random.Random) -> str:
    thing = draw.choice(["หนังเรื่องนี้", "คอนเสิร์ตเมื่อวาน", "อาหารกลางวัน", "เพลงใหม่"])
    good, bad = ["ดีมาก", "สวยงาม", "ยอดเยี่ยม"], ["แย่มาก", "น่าเบื่อ", "น่าเศร้า"]
    adjective = draw.choice(good if mood == "positive" else bad)
    verb = draw.choice(["ชอบ", "รัก"] if mood == "positive" else ["เกลียด", "เบื่อ"])
    return draw.choice([f"{thing}{adjective}จริงๆ", f"ฉัน{verb}{thing}", f"{thing}{adjective}", f"{verb}{thing}มากกกก"])


def arabic(mood: str, draw: random.Random) -> str:
    thing = draw.choice(["الفيلم", "الحفل", "الغداء", "الألبوم"])
    good, bad = ["رائِعٌ", "جميل", "ممتاز"], ["سيِّئٌ", "ممل", "محزن"]
    adjective = draw.choice(good if mood == "positive" else bad)
    verb = draw.choice(["أحب", "أعشق"] if mood == "positive" else ["أكره", "مللت من"])
    return draw.choice([f"{thing} {adjective} جداً", f"{verb} {thing}", f"{thing} أمس كان {adjective}"])


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
    ("sentence", "word", "text"),
    [
        (japanese, "最高", "最高の一日でした😊"),
        pytest.param(thai, "รัก", "รักเพลงใหม่มากกก #วันดี", marks=pytest.mark.soak),
        pytest.param(arabic, "رائِعٌ", "الفيلم رائِعٌ", marks=pytest.mark.soak),
    ],
)
def test_tweets_in_any_script_go_from_a_file_to_an_answer(
    sentence: Callable[[str, random.Random], str], word: str, text: str, tmp_path: Path, module_home: Path
) -> None:
    path = corpus(tmp_path / "tweets.csv", sentence, shuffled=False)
    config = {"models": ["logistic"], "data": {"path": str(path)}, "task": sentence.__name__}
    summary: RunSummary = train(TrainConfig.model_validate(config))
    assert summary.models[0].test["accuracy"] > 0.85
    assert summary.verdict.promoted, summary.verdict.reason
    assert summary.bento is not None
    with served(bento_folder(summary.bento)) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        answer = client.post("/predict", json={"text": text}).raise_for_status().json()
        words = client.post("/explain", json={"text": text}).raise_for_status().json()["words"]
    assert answer["sentiment"] == "positive"
    assert max(words, key=lambda found: found["share"])["word"] == word
    behaviour = Examination.read(module_home / "runs" / summary.run_id / "logistic").behaviour
    assert "typical_words" in {result.name for result in behaviour.results}


@pytest.mark.parametrize("sentence", [french, spanish, made_up])
@pytest.mark.soak
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
