"""DistilBERT and BERT, fine-tuned through ktrain from a pretrained encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from polarity.data.tweets import FloatArray, Tweets
from polarity.models.base import History, PackagedModel, Progress
from polarity.models.batches import training_dataset
from polarity.models.calibration import fit_temperature
from polarity.models.class_weights import class_weights
from polarity.models.heartbeat import Heartbeat
from polarity.models.learning_curve import LearningCurve
from polarity.models.network import Network
from polarity.models.runtime import start_tensorflow
from polarity.models.subsample import stratified_subsample
from polarity.packaging.onnx_transformer import (
    Dense,
    Layer,
    Norm,
    TransformerWeights,
    write_quantised,
    write_transformer,
)
from polarity.packaging.parity import MAX_ACCURACY_LOSS, accuracy_loss, require_parity
from polarity.sections import TransformerConfig
from polarity.serving.package import ModelManifest, Precision
from polarity.serving.predictor import Predictor
from polarity.serving.scorers import GRAPH, TOKENIZER, TRANSFORMER_FILES
from polarity.serving.softmax import softmax
from polarity.text.encoders import Encoder, EncoderShape, Layout, resolve_encoder

if TYPE_CHECKING:
    import tensorflow as tf
    from tokenizers import Tokenizer


class _TransformerClassifier:
    """What the two families share: everything but the layout of their weights."""

    family: ClassVar[str]
    layout: ClassVar[Layout]

    def __init__(self, config: TransformerConfig, *, name: str, seed: int) -> None:
        self._config = config
        self._name = name
        self._seed = seed

    def fit(self, train: Tweets, validation: Tweets, progress: Progress) -> FittedTransformer:
        """Fine-tune on `train`; `validation` gives the learning curve and the temperature.

        Raises
        ------
        ConfigurationError
            If the encoder cannot be had.
        """
        with Heartbeat(progress) as report:
            return self._fit(train, validation, report)

    def _fit(self, train: Tweets, validation: Tweets, progress: Progress) -> FittedTransformer:
        config = self._config
        train = stratified_subsample(train, config.train_rows, seed=self._seed)
        encoder = resolve_encoder(config.encoder, self.layout)

        progress(0.0, "starting TensorFlow")
        start_tensorflow(seed=self._seed)
        import ktrain
        import tensorflow as tf
        from ktrain.dataset import TFDataset
        from tokenizers import Tokenizer

        progress(0.03, f"loading the encoder {config.encoder}")
        tokenizer = Tokenizer.from_str(encoder.tokenizer(max_tokens=config.max_tokens))
        build = partial(_model, encoder, n_labels=len(train.label_names))
        network = Network(build())
        network.keras.compile(
            # ktrain's one-cycle schedule sets the rate and the momentum of the older Adam
            optimizer=tf.keras.optimizers.legacy.Adam(config.learning_rate),
            loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        ids = _ids(tokenizer, train.texts)
        data = training_dataset(ids, train.labels, config.batch_size, seed=self._seed)
        learner = ktrain.get_learner(
            network.keras, train_data=TFDataset(data, len(ids), train.labels), batch_size=config.batch_size
        )
        curve = LearningCurve(
            network,
            _ids(tokenizer, validation.texts),
            validation.labels,
            progress,
            epochs=config.epochs,
            steps=-(-len(ids) // config.batch_size),
            start=0.05,
        )
        learner.fit_onecycle(
            config.learning_rate,
            config.epochs,
            class_weight=class_weights(train) if config.class_weight else None,
            callbacks=[curve.callback()],
            verbose=0,
        )
        network, logits = curve.restore_best(build)
        temperature = fit_temperature(logits, validation.labels) if config.calibrate else 1.0
        notes = {
            "encoder": config.encoder,
            "train_rows": len(train),
            "best_epoch": curve.best + 1,
            "temperature": temperature,
        }
        progress(1.0, f"fine-tuned on {len(train):,} tweets", **curve.epochs[curve.best])
        return FittedTransformer(
            layout=self.layout,
            network=network,
            shape=encoder.shape,
            tokenizer=tokenizer,
            max_tokens=config.max_tokens,
            quantise=config.quantise,
            temperature=temperature,
            history=History(tuple(curve.epochs), notes),
            name=self._name,
            validation=validation,
            validation_proba=softmax(logits, temperature=temperature),
        )


class DistilbertClassifier(_TransformerClassifier):
    """A DistilBERT with a classification head."""

    family = "distilbert"
    layout = "distilbert"


class BertClassifier(_TransformerClassifier):
    """A BERT with a classification head."""

    family = "bert"
    layout = "bert"


@dataclass(frozen=True)
class FittedTransformer:
    """The fine-tuned network, its tokenizer and its temperature."""

    layout: Layout
    network: Network
    shape: EncoderShape
    tokenizer: Tokenizer
    max_tokens: int
    quantise: bool
    temperature: float
    history: History
    name: str
    validation: Tweets
    validation_proba: FloatArray

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities of shape (n_texts, n_labels), float32, rows summing to 1."""
        return softmax(self.network.logits(_ids(self.tokenizer, texts)), temperature=self.temperature)

    def export(self, folder: Path) -> PackagedModel:
        """Write an ONNX graph and the tokenizer; with int8 weights, if that is wanted and they answer well enough.

        Raises
        ------
        ArtifactError
            If the graph in full precision does not agree with the network on the validation tweets.
        """
        folder.mkdir(parents=True, exist_ok=True)
        weights = _weights(self.network.keras, self.layout, self.shape)
        write_transformer(weights, folder / GRAPH)
        answers, manifest = self._packaged(folder, "fp32")
        parity = require_parity(self.validation_proba, answers, what=f"'{self.name}' as packaged in '{folder}'")
        if self.quantise:
            with TemporaryDirectory(dir=folder.parent) as temporary:
                draft = Path(temporary)
                write_quantised(weights, draft / GRAPH)
                answers, quantised = self._packaged(draft, "int8")
                parity["int8_accuracy_loss"] = accuracy_loss(self.validation_proba, answers, self.validation.labels)
                if parity["int8_accuracy_loss"] <= MAX_ACCURACY_LOSS:
                    (draft / GRAPH).replace(folder / GRAPH)
                    manifest = quantised
        manifest.with_card({"parity": parity}).write(folder)
        return PackagedModel(folder, manifest.size_bytes, manifest.precision)

    def _packaged(self, folder: Path, precision: Precision) -> tuple[FloatArray, ModelManifest]:
        """Complete the package around the graph in `folder`; its probabilities of the validation tweets."""
        (folder / TOKENIZER).write_text(self.tokenizer.to_str(), encoding="utf-8")
        manifest = ModelManifest.describe(
            folder,
            TRANSFORMER_FILES,
            family=self.layout,
            name=self.name,
            labels=self.validation.label_names,
            precision=precision,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            card={},
        )
        manifest.write(folder)
        return Predictor.load(folder)(self.validation.texts), manifest


def _ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]


def _model(encoder: Encoder, *, n_labels: int) -> tf.keras.Model:
    """From token ids, 0 where there is none, to logits."""
    import tensorflow as tf

    transformers: Any = import_module("transformers")
    loading: Any = import_module("transformers.modeling_tf_pytorch_utils")
    shape = encoder.shape
    if encoder.layout == "distilbert":
        network = transformers.TFDistilBertForSequenceClassification(
            transformers.DistilBertConfig(
                vocab_size=shape.vocabulary,
                max_position_embeddings=shape.positions,
                dim=shape.width,
                hidden_dim=shape.inner_width,
                n_layers=shape.layers,
                n_heads=shape.heads,
                dropout=shape.dropout,
                attention_dropout=shape.attention_dropout,
                num_labels=n_labels,
            )
        )
    else:
        network = transformers.TFBertForSequenceClassification(
            transformers.BertConfig(
                vocab_size=shape.vocabulary,
                max_position_embeddings=shape.positions,
                hidden_size=shape.width,
                intermediate_size=shape.inner_width,
                num_hidden_layers=shape.layers,
                num_attention_heads=shape.heads,
                hidden_dropout_prob=shape.dropout,
                attention_probs_dropout_prob=shape.attention_dropout,
                num_labels=n_labels,
            )
        )
    ids = tf.keras.Input((None,), dtype="int32")
    mask = tf.cast(tf.not_equal(ids, 0), tf.int32)
    logits = network(input_ids=ids, attention_mask=mask).logits
    weights = encoder.weights()
    if weights:
        loading.load_pytorch_state_dict_in_tf2_model(
            network, weights, allow_missing_keys=True, skip_logger_warnings=True
        )
    return tf.keras.Model(ids, tf.cast(logits, tf.float32))


# Where each part of a layer is in the TensorFlow model, by the field of `Layer`.
_LAYER_PREFIX = {"distilbert": "transformer/layer_._{}/", "bert": "encoder/layer_._{}/"}
_LAYER_DENSE = {
    "distilbert": {
        "query": "attention/q_lin",
        "key": "attention/k_lin",
        "value": "attention/v_lin",
        "attended": "attention/out_lin",
        "inner": "ffn/lin1",
        "outer": "ffn/lin2",
    },
    "bert": {
        "query": "attention/self/query",
        "key": "attention/self/key",
        "value": "attention/self/value",
        "attended": "attention/output/dense",
        "inner": "intermediate/dense",
        "outer": "output/dense",
    },
}
_LAYER_NORMS = {
    "distilbert": {"attended_norm": "sa_layer_norm", "outer_norm": "output_layer_norm"},
    "bert": {"attended_norm": "attention/output/LayerNorm", "outer_norm": "output/LayerNorm"},
}


def _weights(model: tf.keras.Model, layout: Layout, shape: EncoderShape) -> TransformerWeights:
    variables: dict[str, FloatArray] = {}
    for variable in model.variables:
        # "tf_..._classification/distilbert/embeddings/...:0" and "tf_..._classification/classifier/...:0"
        _, name = variable.name.removesuffix(":0").split("/", 1)
        variables[name.removeprefix(f"{layout}/")] = variable.numpy().astype(np.float32)

    def dense(name: str) -> Dense:
        return Dense(variables[f"{name}/kernel"], variables[f"{name}/bias"])

    def norm(name: str) -> Norm:
        return Norm(variables[f"{name}/gamma"], variables[f"{name}/beta"])

    def layer(number: int) -> Layer:
        prefix = _LAYER_PREFIX[layout].format(number)
        parts: dict[str, Any] = {field: dense(prefix + name) for field, name in _LAYER_DENSE[layout].items()}
        parts |= {field: norm(prefix + name) for field, name in _LAYER_NORMS[layout].items()}
        return Layer(**parts)

    positions = variables["embeddings/position_embeddings/embeddings"]
    if layout == "bert":
        positions = positions + variables["embeddings/token_type_embeddings/embeddings"][0]
    return TransformerWeights(
        words=variables["embeddings/word_embeddings/weight"],
        positions=positions,
        norm=norm("embeddings/LayerNorm"),
        layers=[layer(number) for number in range(shape.layers)],
        heads=shape.heads,
        head=dense("pre_classifier" if layout == "distilbert" else "pooler/dense"),
        head_activation="Relu" if layout == "distilbert" else "Tanh",
        output=dense("classifier"),
    )
