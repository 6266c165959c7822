"""DistilBERT, BERT and RoBERTa, fine-tuned through ktrain from a pretrained encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from pydantic import Field

from polarity.config.sections import BehaviourLimits, Range
from polarity.families.batches import training_dataset
from polarity.families.calibration import fit_temperature
from polarity.families.checkpoints import Checkpoints
from polarity.families.exports import UNQUANTISED, Exports
from polarity.families.learning_curve import LearningCurve
from polarity.families.network import Network, start_tensorflow
from polarity.families.packaging import describe_package
from polarity.families.parity import MAX_ACCURACY_LOSS, accuracy_loss, require_parity
from polarity.families.progress import Heartbeat, Progress
from polarity.families.protocol import (
    ExternalInput,
    Family,
    History,
    ModelSection,
    PackagedModel,
    Profiles,
    SearchSpace,
    section_name,
)
from polarity.families.sampling import class_weights
from polarity.inference.package import ModelManifest, Precision, file_digest
from polarity.inference.placement import Placement
from polarity.inference.scorers import GRAPH, graph_of
from polarity.inference.session import Session
from polarity.inference.softmax import softmax
from polarity.inference.subwords import SubwordTokenizer
from polarity.inference.traits import Traits
from polarity.text.tweets import FloatArray, Tweets

if TYPE_CHECKING:
    from polarity.families.layouts import EncoderShape, Layout


class TransformerConfig(ModelSection):
    """A pretrained encoder, fine-tuned through ktrain."""

    encoder: str = "minilm"
    """`minilm` (installed with the packages), a hub name (`distilbert-base-uncased`), a folder, or `random` (tests)."""
    epochs: int = Field(1, ge=1)
    """Passes over the training rows."""
    batch_size: int = Field(32, ge=1)
    """Tweets per step."""
    learning_rate: float = Field(1e-4, gt=0)
    """Peak learning rate of the one-cycle schedule."""
    max_tokens: int = Field(64, ge=8)
    """Truncate tweets to this many tokens, special ones included; at most as many as the encoder can read."""
    class_weight: Literal["balanced"] | None = None
    """`balanced` weights classes by their inverse frequency."""
    calibrate: bool = True
    """Scale the logits by a temperature fitted on validation."""
    quantise: bool = True
    """Package int8 weights if they pass the parity check, fp32 otherwise."""


# Encoders of RoBERTa's layout, by the name of the model that is fine-tuned from them.
ROBERTA_ENCODERS = {
    "roberta": "cardiffnlp/twitter-roberta-base",
    "bertweet": "vinai/bertweet-base",
    "xlm-t": "cardiffnlp/twitter-xlm-roberta-base",
    "camembert": "almanach/camembert-base",
}


class DistilbertConfig(TransformerConfig):
    """A DistilBERT, fine-tuned through ktrain."""


class BertConfig(TransformerConfig):
    """A BERT, fine-tuned through ktrain."""


class RobertaConfig(TransformerConfig):
    """A RoBERTa, XLM-RoBERTa or CamemBERT, fine-tuned through ktrain."""

    encoder: str = "cardiffnlp/twitter-roberta-base"
    """A hub name, a folder, or `random` (tests)."""
    learning_rate: float = Field(3e-5, gt=0)
    """Peak learning rate of the one-cycle schedule."""


C = TypeVar("C", bound=TransformerConfig)


class _Transformer(Family[C]):
    """Common base of the families, which differ only in the layout of their weights."""

    layout: ClassVar[str]
    traits = Traits(gpu=True, shard_rows=2_000)
    exports: ClassVar[Exports] = {"hf": "polarity.families.hf_export:write_hf"}
    search_space: ClassVar[SearchSpace] = {
        "learning_rate": Range(low=2e-5, high=3e-4, log=True),
        "batch_size": [16, 32, 64],
        "epochs": [1, 2, 3],
    }
    behaviour = BehaviourLimits(plain_positive=0.5, plain_negative=0.5, negated=0.3)
    libraries = (
        "numpy",
        "tensorflow",
        "tf-keras",
        "ktrain",
        "transformers",
        "tokenizers",
        "onnx",
        "onnxruntime",
        "ftfy",
    )

    def classifier(self, section: C, *, name: str, seed: int) -> TransformerClassifier:
        return TransformerClassifier(self, section, name=name, seed=seed)

    def scorer(self, folder: Path, manifest: ModelManifest, placement: Placement) -> TransformerScorer:
        return TransformerScorer(folder, manifest, placement=placement)

    def external_inputs(self, section: C) -> Mapping[str, ExternalInput]:
        from polarity.families.encoders import resolve_encoder

        encoder = resolve_encoder(section.encoder, self.layout)
        kind = "random" if section.encoder == "random" else "pretrained"
        return {"encoder": ExternalInput("-".join(file_digest(path) for path in encoder.files), kind)}

    def check(self, model: str, section: C) -> list[str]:
        from polarity.families.encoders import check_encoder

        check_encoder(section.encoder, self.layout)
        return []


class Distilbert(_Transformer[DistilbertConfig]):
    """A DistilBERT with a classification head."""

    name = layout = "distilbert"
    section = DistilbertConfig
    profiles: ClassVar[Profiles] = {
        "demo": {"distilbert": {"train_rows": 1500, "max_tokens": 32}},
        "standard": {"distilbert": {"train_rows": 20_000}},
        "full": {
            "distilbert": {
                "encoder": "distilbert-base-uncased",
                "learning_rate": 5e-5,
                "batch_size": 128,
                "epochs": 2,
            }
        },
    }


class Bert(_Transformer[BertConfig]):
    """A BERT with a classification head."""

    name = layout = "bert"
    section = BertConfig
    profiles: ClassVar[Profiles] = {
        "full": {"bert": {"encoder": "bert-base-uncased", "learning_rate": 5e-5, "batch_size": 128, "epochs": 2}}
    }


class Roberta(_Transformer[RobertaConfig]):
    """A RoBERTa with a classification head: one model for each of the encoders for tweets, and CamemBERT for French."""

    name = layout = "roberta"
    section = RobertaConfig
    profiles: ClassVar[Profiles] = {
        profile: dict.fromkeys(ROBERTA_ENCODERS, options)
        for profile, options in {
            "demo": {"train_rows": 1500, "max_tokens": 32},
            "standard": {"train_rows": 20_000},
            "full": {"epochs": 2},
        }.items()
    }

    def models(self) -> Mapping[str, RobertaConfig]:
        return {model: RobertaConfig(encoder=encoder) for model, encoder in ROBERTA_ENCODERS.items()}


class TransformerScorer:
    """An ONNX graph that reads subwords; the tokenizer's file defines the truncation."""

    def __init__(self, folder: Path, manifest: ModelManifest, *, placement: Placement) -> None:
        self._tokenizer = SubwordTokenizer.read(folder)
        self._session = Session(folder / graph_of(manifest, placement), placement=placement)

    def logits(self, texts: Sequence[str]) -> FloatArray:
        """Logits of shape (n_texts, n_labels) for at least one repaired text."""
        return self._session.logits(self._tokenizer.ids(texts))


class TransformerClassifier:
    """An encoder before fine-tuning."""

    def __init__(self, family: _Transformer[Any], config: TransformerConfig, *, name: str, seed: int) -> None:
        self._family = family
        self._config = config
        self._name = name
        self._seed = seed
        self.checkpoints: Checkpoints | None = None

    def fit(self, train: Tweets, validation: Tweets, progress: Progress) -> FittedTransformer:
        """Fine-tune on `train`; `validation` is used for the learning curve and the temperature.

        Raises
        ------
        ConfigurationError
            If the encoder is unavailable, or the loss becomes NaN or infinite.
        """
        with Heartbeat(progress) as report:
            return self._fit(train, validation, report)

    def _fit(self, train: Tweets, validation: Tweets, progress: Progress) -> FittedTransformer:
        from polarity.families.encoders import resolve_encoder

        config = self._config
        encoder = resolve_encoder(config.encoder, self._family.layout)

        progress(0.0, "starting TensorFlow")
        start_tensorflow(seed=self._seed)
        import ktrain
        import tensorflow as tf
        from ktrain.dataset import TFDataset

        from polarity.families.keras_transformer import build_network, network_ids
        from polarity.families.one_cycle import one_cycle

        progress(0.03, f"loading the encoder {config.encoder}")
        tokenizer = encoder.tokenizer(max_tokens=config.max_tokens)
        build = partial(build_network, encoder, n_labels=len(train.label_names))
        network = Network(build())
        network.keras.compile(
            # ktrain's one-cycle schedule sets the learning rate and momentum of the legacy Adam
            optimizer=tf.keras.optimizers.legacy.Adam(config.learning_rate),
            loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        ids = network_ids(encoder.layout, tokenizer, train.texts)
        steps = -(-len(ids) // config.batch_size) * config.epochs
        curve = LearningCurve(
            network,
            network_ids(encoder.layout, tokenizer, validation.texts),
            validation.labels,
            progress,
            epochs=config.epochs,
            rows=len(ids),
            batch_size=config.batch_size,
            start=0.05,
            diverged=f"Lower --{section_name(self._name)}.learning_rate, which is {config.learning_rate:g}.",
            checkpoints=self.checkpoints,
        )

        def train_epochs(epochs: int, steps_per_epoch: int, done: int) -> None:
            data = training_dataset(ids, train.labels, config.batch_size, seed=self._seed, skip=done)
            learner = ktrain.get_learner(
                network.keras, train_data=TFDataset(data, len(ids), train.labels), batch_size=config.batch_size
            )
            learner.fit(
                config.learning_rate,
                epochs,
                steps_per_epoch=steps_per_epoch,
                class_weight=class_weights(train) if config.class_weight else None,
                callbacks=[
                    one_cycle(network.keras, config.learning_rate, steps=steps, done=done),
                    curve.callback(),
                ],
                verbose=0,
            )

        curve.fit(train_epochs)
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
            family=self._family,
            network=network,
            layout=encoder.layout,
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


@dataclass(frozen=True)
class FittedTransformer:
    """The fine-tuned network, its tokenizer and its temperature."""

    family: _Transformer[Any]
    network: Network
    layout: Layout
    shape: EncoderShape
    tokenizer: SubwordTokenizer
    max_tokens: int
    quantise: bool
    temperature: float
    history: History
    name: str
    validation: Tweets
    validation_proba: FloatArray

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities of shape (n_texts, n_labels), float32, rows summing to 1."""
        from polarity.families.keras_transformer import network_ids

        logits = self.network.logits(network_ids(self.layout, self.tokenizer, texts))
        return softmax(logits, temperature=self.temperature)

    def export(self, folder: Path) -> PackagedModel:
        """Write an ONNX graph and the tokenizer, with int8 weights if enabled and accurate enough.

        The graph in full precision stays beside the package (`polarity.families.exports.UNQUANTISED`), for those who
        take the model elsewhere.

        Raises
        ------
        ArtifactError
            If the graph in full precision does not agree with the network on the validation tweets.
        """
        from polarity.families.keras_transformer import graph_weights
        from polarity.families.onnx_transformer import write_quantised, write_transformer

        folder.mkdir(parents=True, exist_ok=True)
        weights = graph_weights(self.network.keras, self.layout, self.shape)
        write_transformer(weights, folder / GRAPH)
        probabilities, manifest = self._packaged(folder, "fp32")
        parity = require_parity(self.validation_proba, probabilities, what=f"'{self.name}' as packaged in '{folder}'")
        if self.quantise:
            with TemporaryDirectory(dir=folder.parent) as temporary:
                draft = Path(temporary)
                write_quantised(weights, draft / GRAPH)
                probabilities, quantised = self._packaged(draft, "int8")
                loss = accuracy_loss(self.validation_proba, probabilities, self.validation.labels)
                parity["int8_accuracy_loss"] = loss
                if parity["int8_accuracy_loss"] <= MAX_ACCURACY_LOSS:
                    unquantised = folder.with_name(UNQUANTISED)
                    unquantised.mkdir(exist_ok=True)
                    (folder / GRAPH).replace(unquantised / GRAPH)
                    (draft / GRAPH).replace(folder / GRAPH)
                    manifest = quantised
        manifest.with_card({"parity": parity}).write(folder)
        return PackagedModel(folder, manifest.size_bytes, manifest.precision)

    def _packaged(self, folder: Path, precision: Precision) -> tuple[FloatArray, ModelManifest]:
        """Complete the package from the graph in `folder`, and return its probabilities for the validation tweets."""
        files = self.tokenizer.write(folder)
        manifest, predictor = describe_package(
            self.family,
            folder,
            (GRAPH, *files),
            name=self.name,
            labels=self.validation.label_names,
            precision=precision,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )
        return predictor(self.validation.texts), manifest
