"""The scaling benchmark of the logistic regression, on a few real tweets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.training import scale


@pytest.mark.realdata
def test_real_tweets_are_sampled_fitted_and_packaged(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.results.FOLDER", tmp_path)
    scale.main(["--tweets", str(shared_data / "sentiment140_sample.csv.gz"), "--rows", "1200", "600"])
    few, many = json.loads((tmp_path / "logistic-scale.json").read_text())["fits"]
    assert (few["rows"], many["rows"]) == (600, 1200)
    assert few["ngrams"] < many["ngrams"]
    assert 0 < few["peak_gib"] < scale.MEMORY_GIB
