"""A training reads the encoders and word vectors that its options name, or none."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from polarity.errors import ConfigurationError
from polarity.pipeline.config import TrainConfig
from polarity.pipeline.prerequisites import check_prerequisites


def test_a_file_is_held_against_its_pinned_digest(tmp_path: Path) -> None:
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("good 0.1 0.2\nbad 0.3 0.4\n")

    def check(**pins: dict[str, str]) -> list[str]:
        options: dict[str, Any] = {"profile": "demo", "models": ["bilstm"], "bilstm": {"vectors": vectors}}
        return check_prerequisites(TrainConfig.model_validate({**options, "pins": pins}))

    digest = hashlib.sha256(vectors.read_bytes()).hexdigest()
    assert check() == check(bilstm={"vectors": digest})
    vectors.write_text("good 0.1 0.2\nbad 0.3 0.5\n")
    with pytest.raises(ConfigurationError, match=f"is pinned to {digest}"):
        check(bilstm={"vectors": digest})
    with pytest.raises(ConfigurationError, match="reads no such file with these options; it reads: vectors"):
        check(bilstm={"encoder": digest})
    with pytest.raises(ValidationError, match="bilsm"):
        check(bilsm={"vectors": digest})


def test_an_encoder_is_pinned_by_all_of_its_files() -> None:
    options = {"profile": "demo", "models": ["distilbert"], "distilbert": {"encoder": "random"}}
    with pytest.raises(ConfigurationError) as caught:
        check_prerequisites(TrainConfig.model_validate({**options, "pins": {"distilbert": {"encoder": "0"}}}))
    digest = str(caught.value).split("digest ")[1].split(",")[0]
    check_prerequisites(TrainConfig.model_validate({**options, "pins": {"distilbert": {"encoder": digest}}}))
