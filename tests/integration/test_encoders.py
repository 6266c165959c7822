"""From a file of tweets to a served explanation, with a small encoder of each kind in the form of the hub."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from polarity.config.sections import DataConfig
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
        # The units compare all four with transformers; two ways from the file to the answer are enough for every day.
        pytest.param("roberta", "byte-level", marks=pytest.mark.soak),
        ("bertweet", "bertweet"),
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
