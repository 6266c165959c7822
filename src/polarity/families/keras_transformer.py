"""The Keras network of an encoder with a classification head, and its weights in other forms."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from polarity.families.encoder_weights import POSITIONS, TOKEN_TYPES, Weights
from polarity.families.encoders import Encoder
from polarity.families.layouts import DISTILBERT, EncoderShape, Layout, pytorch_name
from polarity.families.onnx_transformer import Dense, Layer, Norm, TransformerWeights

if TYPE_CHECKING:
    import tensorflow as tf

    from polarity.inference.subwords import SubwordTokenizer


def network_ids(layout: Layout, tokenizer: SubwordTokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text as the network takes them, where 0 stands for no token."""
    ids = tokenizer.ids(texts)
    return [[number + 1 for number in text] for text in ids] if layout.special_ids_from_zero else ids


def build_network(encoder: Encoder, *, n_labels: int) -> tf.keras.Model:
    """A Keras model from ids (see `network_ids`), padded with 0, to logits of shape (n_texts, n_labels)."""
    import tensorflow as tf

    loading: Any = import_module("transformers.modeling_tf_pytorch_utils")
    network = _classifier(encoder.layout, encoder.shape, n_labels=n_labels)
    ids = tf.keras.Input((None,), dtype="int32")
    mask = tf.cast(tf.not_equal(ids, 0), tf.int32)
    if encoder.layout.special_ids_from_zero:
        # The library would take the positions from where the padding is, and a text may hold the padding's token.
        positions = encoder.shape.first_position + tf.zeros_like(ids) + tf.range(tf.shape(ids)[1])
        logits = network(input_ids=tf.maximum(ids - 1, 0), attention_mask=mask, position_ids=positions).logits
    else:
        logits = network(input_ids=ids, attention_mask=mask).logits
    weights = encoder.weights()
    if weights:
        loading.load_pytorch_state_dict_in_tf2_model(
            network, weights, allow_missing_keys=True, skip_logger_warnings=True
        )
    return tf.keras.Model(ids, tf.cast(logits, tf.float32))


def _classifier(layout: Layout, shape: EncoderShape, *, n_labels: int) -> Any:
    """The network of `transformers`, with random weights."""
    transformers: Any = import_module("transformers")
    sizes = {key: getattr(shape, field) for field, key in layout.config_keys.items()}
    if layout is not DISTILBERT:
        sizes |= {"type_vocab_size": shape.token_types, "layer_norm_eps": shape.epsilon}
    if layout.leading_positions:
        sizes["pad_token_id"] = shape.first_position - 1
    config = getattr(transformers, layout.config_class)(**sizes, num_labels=n_labels)
    return getattr(transformers, layout.model_class)(config)


def pytorch_weights(model: tf.keras.Model) -> Weights:
    """All weights of a network by their PyTorch names, with the encoder's prefix, in full precision."""
    found: Weights = {}
    for variable in model.variables:
        name, transposed = pytorch_name(variable.name)
        value = variable.numpy().astype(np.float32)
        found[name] = value.T if transposed else value
    return found


def graph_weights(model: tf.keras.Model, layout: Layout, shape: EncoderShape) -> TransformerWeights:
    """The weights of a network as an ONNX graph needs them."""
    prefix = f"{layout.prefix}."
    weights = {name.removeprefix(prefix): value for name, value in pytorch_weights(model).items()}

    def dense(name: str) -> Dense:
        return Dense(weights[f"{name}.weight"].T, weights[f"{name}.bias"])

    def norm(name: str) -> Norm:
        return Norm(weights[f"{name}.weight"], weights[f"{name}.bias"])

    def layer(number: int) -> Layer:
        named = {field: layout.layer.format(number) + part for field, part in layout.parts.items()}
        parts: dict[str, Any] = {
            field: norm(name) if field.endswith("_norm") else dense(name) for field, name in named.items()
        }
        return Layer(**parts)

    positions = weights[POSITIONS][shape.first_position :]
    if layout is not DISTILBERT:
        positions = positions + weights[TOKEN_TYPES][0]
    return TransformerWeights(
        words=weights["embeddings.word_embeddings.weight"],
        positions=positions,
        norm=norm("embeddings.LayerNorm"),
        layers=[layer(number) for number in range(shape.layers)],
        heads=shape.heads,
        head=dense(layout.head),
        head_activation=layout.head_activation,
        output=dense(layout.output),
        epsilon=shape.epsilon,
    )
