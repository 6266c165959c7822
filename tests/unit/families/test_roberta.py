"""Encoders of RoBERTa's layout against the library that defines them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from polarity.errors import ConfigurationError
from polarity.families.encoders import Encoder, resolve_encoder
from polarity.families.keras_transformer import build_network, graph_weights, network_ids, pytorch_weights
from polarity.families.network import Network, start_tensorflow
from polarity.families.onnx_transformer import write_transformer
from polarity.inference.placement import Placement
from polarity.inference.session import Session
from polarity.inference.subwords import SubwordTokenizer
from polarity.text.cleaning import repair
from tests.encoders import KINDS, corpus, reference_tokenizer, write_encoder

TEXTS = [
    *(repair(text) for text in corpus(120)),
    "",
    "@bob I can't wait… https://t.co/abc ❤ \U0001f602",
    "naïve café, ça va? 日本",
    "nothing but <pad> inside",
    "word " * 100,
]


@pytest.fixture(scope="module", params=list(KINDS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(request.param, tmp_path_factory.mktemp(request.param) / "encoder")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return resolve_encoder(str(folder), "roberta")


@pytest.fixture(scope="module")
def network(encoder: Encoder) -> Any:
    start_tensorflow(seed=1)
    return build_network(encoder, n_labels=3)


def test_the_tokens_are_those_of_the_encoders_own_tokenizer(folder: Path, encoder: Encoder, tmp_path: Path) -> None:
    reference = reference_tokenizer(folder)
    texts = [text for text in TEXTS if "<pad>" not in text]
    for limit, longest in ((1000, 64), (12, 12)):
        tokenizer = encoder.tokenizer(max_tokens=limit)
        assert tokenizer.ids(texts) == reference(texts, truncation=True, max_length=longest)["input_ids"]
        tokenizer.write(tmp_path)
        assert SubwordTokenizer.read(tmp_path).ids(texts) == tokenizer.ids(texts)


def test_network_and_graph_compute_what_the_encoders_library_does(
    folder: Path, encoder: Encoder, network: Any, tmp_path: Path
) -> None:
    import tensorflow as tf
    from transformers import TFAutoModelForSequenceClassification

    weights = pytorch_weights(network)
    for name, value in encoder.weights().items():
        np.testing.assert_array_equal(weights[f"roberta.{name}"], value)
    config = json.loads((folder / "config.json").read_text()) | {"num_labels": 3, "architectures": None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(
        {name: np.ascontiguousarray(value) for name, value in weights.items()},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    reference = TFAutoModelForSequenceClassification.from_pretrained(str(tmp_path))
    tokenizer = encoder.tokenizer(max_tokens=64)
    texts = [text for text in TEXTS if "<pad>" not in text]
    given = reference_tokenizer(folder)(texts, truncation=True, max_length=64, padding=True, return_tensors="np")
    expected = reference(
        input_ids=tf.constant(given["input_ids"]), attention_mask=tf.constant(given["attention_mask"])
    ).logits.numpy()

    trained = Network(network).logits(network_ids(encoder.layout, tokenizer, texts))
    np.testing.assert_allclose(trained, expected, atol=1e-5)
    write_transformer(graph_weights(network, encoder.layout, encoder.shape), tmp_path / "model.onnx")
    session = Session(tmp_path / "model.onnx", placement=Placement(threads=1))
    np.testing.assert_allclose(session.logits(tokenizer.ids(texts)), expected, atol=1e-5)


def test_a_text_that_holds_the_padding_token_is_the_same_to_network_and_graph(
    encoder: Encoder, network: Any, tmp_path: Path
) -> None:
    tokenizer = encoder.tokenizer(max_tokens=64)
    write_transformer(graph_weights(network, encoder.layout, encoder.shape), tmp_path / "model.onnx")
    served = Session(tmp_path / "model.onnx", placement=Placement(threads=1)).logits(tokenizer.ids(TEXTS))
    np.testing.assert_allclose(
        Network(network).logits(network_ids(encoder.layout, tokenizer, TEXTS)), served, atol=1e-5
    )


@pytest.mark.parametrize("form", ["tf_model.h5", "model.safetensors"])
def test_weights_that_tensorflow_wrote_are_the_same_weights(tmp_path: Path, form: str) -> None:
    start_tensorflow(seed=1)
    from transformers import TFAutoModel

    folder = write_encoder("byte-level", tmp_path / "encoder")
    encoder = resolve_encoder(str(folder), "roberta")
    written = encoder.weights()
    model = TFAutoModel.from_pretrained(str(folder))
    (folder / "model.safetensors").unlink()
    model.save_pretrained(str(folder), safe_serialization=form == "model.safetensors")
    found = resolve_encoder(str(folder), "roberta")
    assert found.weights_file == folder / form
    weights = found.weights()
    assert {name for name in weights if not name.startswith("pooler")} == set(written)
    for name, value in written.items():
        np.testing.assert_array_equal(weights[name], value)
    assert encoder.shape == found.shape


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_limits_and_special_tokens_are_those_of_the_encoders_files(tmp_path: Path) -> None:
    folder = write_encoder("byte-level", tmp_path / "encoder")
    encoder = resolve_encoder(str(folder), "roberta")
    assert encoder.shape.max_tokens == 64  # of 66 positions, two are before the first token
    edit(folder / "tokenizer_config.json", model_max_length=20)
    (ids,) = resolve_encoder(str(folder), "roberta").tokenizer(max_tokens=64).ids(["word " * 100])
    assert (len(ids), ids[0], ids[-1]) == (20, 0, 2)
    edit(folder / "config.json", pad_token_id=3)
    assert resolve_encoder(str(folder), "roberta").shape.first_position == 4


def test_a_tokenizer_without_special_tokens_gets_those_that_its_files_name(tmp_path: Path) -> None:
    folder = write_encoder("tokenizer.json", tmp_path / "encoder")
    edit(folder / "tokenizer.json", post_processor=None)
    (ids,) = resolve_encoder(str(folder), "roberta").tokenizer(max_tokens=64).ids(["word"])
    assert (ids[0], ids[-1]) == (0, 2)
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ConfigurationError, match=r"adds no special tokens.*names a cls_token and a sep_token"):
        resolve_encoder(str(folder), "roberta").tokenizer(max_tokens=64)


def test_a_tokenizer_of_another_encoder_is_refused(tmp_path: Path) -> None:
    folder = write_encoder("tokenizer.json", tmp_path / "encoder")
    edit(folder / "tokenizer_config.json", model_max_length=64)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"]["toomuch"] = 400
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match="has 401 tokens, but its weights are for 400"):
        resolve_encoder(str(folder), "roberta").tokenizer(max_tokens=64)


def test_a_roberta_does_not_serve_as_bert_and_the_message_says_what_takes_it(tmp_path: Path) -> None:
    folder = write_encoder("byte-level", tmp_path / "encoder")
    with pytest.raises(ConfigurationError, match=r"is a RoBERTa; `distilbert` needs a DistilBERT.*family `roberta`"):
        resolve_encoder(str(folder), "distilbert")
    with pytest.raises(ConfigurationError, match=r"'minilm' is a BERT; `roberta` needs a RoBERTa"):
        resolve_encoder("minilm", "roberta")


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    folder = write_encoder("byte-level", tmp_path / "encoder")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigurationError, match=r"no readable model\.safetensors or tf_model\.h5.*can run code"):
        resolve_encoder(str(folder), "roberta")
