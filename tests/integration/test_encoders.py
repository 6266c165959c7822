"""From a file of tweets to a served explanation, with a small encoder of each kind in the form of the hub."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from flows.train import train
from polarity.bento.server import served
from polarity.bento.store import bento_folder
from polarity.config.sections import BehaviourLimits, DataConfig
from polarity.config.settings import PROJECT
from polarity.data.corpus import generate_tweets
from polarity.data.ingest import ingest
from polarity.families.exports import UNQUANTISED
from polarity.families.fit import PACKAGED, fit_model
from polarity.families.packaging import load_predictor
from polarity.families.registry import family_of
from polarity.inference.package import ModelManifest
from polarity.inference.placement import Placement
from polarity.inference.scorers import GRAPH
from polarity.inference.session import Session
from polarity.inference.softmax import softmax
from polarity.inference.subwords import SubwordTokenizer
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.store import Store
from polarity.text.cleaning import repair
from polarity.upkeep.export import export_model
from tests.encoders import write_encoder

LABELS = ("negative", "positive")
TRICKY = ["", "naïve café, 日本 \U0001f602", "a very long tweet " * 30]
TEXT = "@ann I can't wait, what a lovely day http://t.co/x ❤"

# What a server does, in a process that reports which libraries it has loaded.
SERVE = """
import asyncio, json, sys
from pathlib import Path
from polarity.families.packaging import load_predictor
from polarity.inference.explanation import explain
predictor = load_predictor(Path(sys.argv[1]))
async def predict(texts): return predictor(list(texts)).tolist()
explained = asyncio.run(explain(sys.argv[2], predict, None))
training = [name for name in ("tensorflow", "transformers", "emoji", "sentencepiece", "h5py") if name in sys.modules]
print(json.dumps({"answer": explained.to_dict(predictor.labels), "training": training}))
"""


@pytest.fixture(scope="module")
def tweets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Parquet file of a snapshot that was read from a CSV file."""
    folder = tmp_path_factory.mktemp("tweets")
    table = generate_tweets(rows=400, labels=LABELS, seed=8).select(["label", "text"])
    # What the steps between a file and a fit do: no other labels, and repaired texts.
    rows = [{**row, "text": repair(row["text"])} for row in table.to_pylist() if row["label"] in LABELS and row["text"]]
    with (folder / "tweets.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["label", "text"])
        writer.writeheader()
        writer.writerows(rows)
    return ingest(DataConfig(path=folder / "tweets.csv"), LABELS, folder / "snapshot").tweets


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        # The units compare all four with transformers; one way from the file to the answer is enough for every day.
        pytest.param("roberta", "byte-level", marks=pytest.mark.soak),
        pytest.param("bertweet", "bertweet", marks=pytest.mark.soak),
        ("xlm-t", "xlm-t"),
        pytest.param("camembert", "camembert", marks=pytest.mark.soak),
    ],
)
def test_an_encoder_of_each_kind_is_trained_packaged_served_and_explained(
    model: str, kind: str, tweets: Path, tmp_path: Path
) -> None:
    family = family_of(model)
    encoder = write_encoder(kind, tmp_path / "encoder")
    section = family.models()[model].model_copy(
        update={"encoder": str(encoder), "max_tokens": 24, "learning_rate": 1e-3}
    )
    assert set(family.external_inputs(section)) == {"encoder"}
    job = {
        "name": model,
        "family": family.name,
        "section": section.model_dump(mode="json"),
        "seed": 3,
        "labels": LABELS,
        "train": str(tweets),
        "validation": str(tweets),
        "folder": str(tmp_path),
    }
    fit_model(job, lambda fraction, message, **metrics: None)

    manifest = ModelManifest.read(tmp_path / PACKAGED)
    assert (manifest.family, manifest.name, manifest.precision) == ("roberta", model, "int8")
    assert manifest.card["parity"]["max_difference"] < 1e-4
    assert manifest.card["parity"]["int8_accuracy_loss"] <= 0.003
    assert_taken_away(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(tmp_path / PACKAGED), TEXT],
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    served = json.loads(done.stdout)
    assert served["training"] == []
    assert [word["word"] for word in served["answer"]["words"]] == TEXT.split()
    assert any(word["share"] for word in served["answer"]["words"])
    expected = load_predictor(tmp_path / PACKAGED)([TEXT])[0]
    np.testing.assert_allclose([served["answer"]["probabilities"][label] for label in LABELS], expected, atol=2e-3)


@pytest.mark.soak
@pytest.mark.usefixtures("prefect_server", "home")
@pytest.mark.timeout(600)
def test_a_training_run_with_an_encoder_of_the_user_is_served_and_explained(tmp_path: Path) -> None:
    options = {"encoder": str(write_encoder("byte-level", tmp_path / "encoder")), "max_tokens": 24, "train_rows": 4000}
    config = TrainConfig.model_validate(
        {
            "profile": "demo",
            "models": ["roberta"],
            "data": {"rows": 6000},
            "roberta": {**options, "epochs": 8, "learning_rate": 3e-3},
            "behaviour": {"roberta": dict.fromkeys(BehaviourLimits.model_fields, 0)},  # such a small model may fail one
        }
    )
    summary = train(config)
    assert [(model.name, model.family) for model in summary.models] == [("roberta", "roberta")]
    assert summary.bento is not None
    with served(bento_folder(summary.bento)) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        answer = client.post("/predict", json={"text": TEXT}).raise_for_status().json()
        assert answer["model"]["family"] == "roberta"
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        explained = client.post("/explain", json={"text": TEXT}).raise_for_status().json()
        assert explained["sentiment"] == answer["sentiment"]
        assert [word["word"] for word in explained["words"]] == TEXT.split()
        assert any(word["share"] for word in explained["words"])


def assert_taken_away(folder: Path) -> None:
    """The exported folder gives, in a pipeline of `transformers`, the probabilities of the graph in full precision."""
    from transformers import pipeline

    export_model(str(folder / PACKAGED), "hf", folder / "taken", store=Store(folder / "store"))
    texts = [TEXT, *TRICKY]
    classify = pipeline("text-classification", str(folder / "taken"), top_k=None)
    found = [{row["label"]: row["score"] for row in answer} for answer in classify(texts, truncation=True)]
    ids = SubwordTokenizer.read(folder / PACKAGED).ids(texts)
    logits = Session(folder / UNQUANTISED / GRAPH, placement=Placement()).logits(ids)
    expected = softmax(logits, temperature=ModelManifest.read(folder / PACKAGED).temperature)
    np.testing.assert_allclose([[row[label] for label in LABELS] for row in found], expected, atol=1e-4)
