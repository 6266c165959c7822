"""The folder of a training run, of two word lists and a tweet with markup."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from polarity.config.sections import PolicyConfig
from polarity.evaluation.behaviour import run_behaviour_tests
from polarity.evaluation.behaviour_tests import sentence_tests
from polarity.evaluation.bias import check_bias
from polarity.evaluation.evidence import Evidence
from polarity.evaluation.mistakes import find_mistakes
from polarity.evaluation.predictions import predict_rows
from polarity.evaluation.sentences import sentences_of
from polarity.evaluation.slices import slice_metrics
from polarity.evaluation.summary import DataSummary, ModelSummary, RunSummary, VerdictSummary
from polarity.families.protocol import History
from polarity.selection.policy import Candidate, select

from .wordlist import WordList

ATTACK = "</script><script>alert('great')</script> & <img src=x onerror=alert(1)>"
TESTS, _ = sentence_tests(sentences_of("en"))


def make_run(folder: Path, labels: tuple[str, ...], *, bare: bool) -> None:
    """Write the files of a run with two word lists, or only its summary."""
    texts = ["great day", "awful day", "not great", "love it sooo much", ATTACK, "so so", "hate it", "fine"] * 15
    truth = [labels[i % len(labels)] for i in range(len(texts))]
    rows = pd.DataFrame({"text": texts, "label": truth, "block": ["head", "tail"] * 60})
    models, candidates = [], []
    for name, model in (("listing", WordList(labels=labels)), ("deaf", WordList(labels=labels, negation=False))):
        test = predict_rows(model, rows, labels)
        behaviour = run_behaviour_tests(model, labels, TESTS, {"negated": 0.5})
        figures = test.measure(seed=0).to_dict()
        slices = {k: {v: m.to_dict() for v, m in of.items()} for k, of in slice_metrics(test, seed=0).items()}
        models.append(
            ModelSummary(
                name=name,
                family="logistic",
                cached=False,
                train_seconds=12.0,
                train_rows=100,
                mlflow_run_id="r1",
                size_bytes=1_500_000,
                latency_ms_p95=0.4,
                train=figures,
                validation=figures,
                test=figures,
                test_slices={} if bare else slices,
            )
        )
        candidates.append(Candidate(name, "logistic", 0.4, 1_500_000, test, behaviour.objections))
        if not bare:
            Evidence(
                test=test,
                history=History(({"loss": 0.6, "validation_loss": 0.7},)),
                words={label: [("great", 1.0), ("<b>", 0.5)] for label in labels},
                behaviour=behaviour,
                bias=check_bias(model, labels, sentences_of("en").identity),
                mistakes=find_mistakes(model, test),
            ).write(folder / name)
    verdict = select(candidates, PolicyConfig(), seed=0)
    if not bare:
        (folder / "verdict.json").write_text(json.dumps(verdict.to_dict()))
        seeds = {"listing": [{"accuracy": 0.8}, {"accuracy": 0.82}, {"accuracy": 0.81}]}
        (folder / "seeds.json").write_text(json.dumps(seeds))
    RunSummary(
        run_id="r-1",
        profile="demo",
        git_commit="abc123",
        git_clean=False,
        started="2026-01-01T00:00:00+00:00",
        seconds=100.0,
        models=tuple(models),
        bento="sentiment:abc",
        data=DataSummary(source="tweets.csv", digest="d" * 64, rows=120, quarantined=3, labels=labels),
        verdict=VerdictSummary(selected=verdict.selected, reason=verdict.reason, champion_before=None, promoted=True),
    ).write(folder)
    return folder
