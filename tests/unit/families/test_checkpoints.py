"""A network's fit that is interrupted anywhere continues from its checkpoint to the same result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from polarity.families.checkpoints import Checkpoint, Checkpoints, checkpoint_files, newest_complete
from polarity.families.protocol import FittedClassifier, Resumable
from polarity.families.registry import family_of
from polarity.pipeline.config import TrainConfig
from polarity.text.tweets import Tweets

OPTIONS = {
    "bilstm": {"units": 6, "vector_size": 12, "epochs": 3, "learning_rate": 0.02, "patience": 1},
    "distilbert": {"encoder": "random", "epochs": 3, "learning_rate": 5e-4, "max_tokens": 16},
}


class Interrupted(Exception):
    pass


def fit(
    name: str, tweets: tuple[Tweets, Tweets], checkpoints: Checkpoints | None, *, until: str | None = None
) -> tuple[FittedClassifier, list[str]]:
    """Fit, and return the epochs that were trained; interrupted at the first report that begins with `until`."""
    section = TrainConfig.model_validate({name: OPTIONS[name]}).section(name)
    classifier = family_of(name).classifier(section, name=name, seed=3)
    assert isinstance(classifier, Resumable)
    classifier.checkpoints = checkpoints
    trained: list[str] = []

    def progress(fraction: float, message: str, **metrics: float) -> None:
        if until and message.startswith(until):
            raise Interrupted
        if message.endswith(" done"):
            trained.append(message)

    return classifier.fit(*tweets, progress), trained


@pytest.fixture(scope="module")
def tweets(train_tweets: Tweets, validation_tweets: Tweets) -> tuple[Tweets, Tweets]:
    return train_tweets, validation_tweets


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.soak
def test_an_interrupted_fit_ends_like_one_that_was_not(
    name: str, tweets: tuple[Tweets, Tweets], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polarity.families.learning_curve.REPORT_EVERY_S", 0.0)
    whole, epochs = fit(name, tweets, None)
    after_epoch, within_epoch = tmp_path / "after", tmp_path / "within"
    with pytest.raises(Interrupted):
        fit(name, tweets, Checkpoints(after_epoch), until="epoch 2 of 3, validating")
    with pytest.raises(Interrupted):
        fit(name, tweets, Checkpoints(within_epoch, every_s=0), until="epoch 2 of 3, batch 3")
    for folder in (after_epoch, within_epoch):
        newest = newest_complete(folder, pytest.fail)
        continued, rest = fit(name, tweets, Checkpoints(folder, newest=newest))
        assert rest == epochs[1:]
        np.testing.assert_allclose(
            continued.predict_proba(tweets[1].texts), whole.predict_proba(tweets[1].texts), atol=1e-3
        )
        for one, other in zip(continued.history.epochs, whole.history.epochs, strict=True):
            assert one == pytest.approx(other, abs=1e-3)
        assert continued.history.notes == pytest.approx(whole.history.notes, abs=1e-3)


@pytest.mark.soak
def test_a_fit_that_stopped_early_trains_no_further(tweets: tuple[Tweets, Tweets], tmp_path: Path) -> None:
    whole, epochs = fit("bilstm", tweets, Checkpoints(tmp_path))
    continued, rest = fit("bilstm", tweets, Checkpoints(tmp_path, newest=newest_complete(tmp_path, pytest.fail)))
    assert epochs and rest == []
    np.testing.assert_allclose(
        continued.predict_proba(tweets[1].texts), whole.predict_proba(tweets[1].texts), atol=1e-3
    )


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "text"])
def test_a_damaged_checkpoint_is_ignored_in_words(harm: str, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for batches in (10, 20, 30):
        checkpoints.write(Checkpoint(batches, {"best": batches}, {"weights/0": np.arange(batches, dtype=np.float32)}))
    kept, newest = checkpoint_files(tmp_path)
    content = bytearray(newest.read_bytes())
    match harm:
        case "cut":
            content = content[: len(content) // 2]
        case "flipped":
            content[content.index(np.float32(7).tobytes()) + 2] ^= 1
        case "empty":
            content = bytearray()
        case "text":
            content = bytearray(b"not an archive")
    newest.write_bytes(content)
    said: list[str] = []
    assert newest_complete(tmp_path, said.append) == kept
    assert [sentence for sentence in said if newest.name in sentence and "is damaged" in sentence] == said != []
    found = Checkpoint.read(kept)
    assert (found.batches, found.state) == (20, {"best": 20})
    np.testing.assert_array_equal(found.group("weights")["0"], np.arange(20))
