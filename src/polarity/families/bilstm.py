"""A bidirectional LSTM on word vectors, in TensorFlow's Keras."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from polarity.config.sections import Range
from polarity.errors import ConfigurationError
from polarity.families.batches import training_dataset
from polarity.families.calibration import fit_temperature
from polarity.families.checkpoints import Checkpoints
from polarity.families.learning_curve import LearningCurve
from polarity.families.network import Network, start_tensorflow
from polarity.families.onnx_bilstm import BilstmWeights, write_bilstm
from polarity.families.packaging import write_package
from polarity.families.progress import CountedReads, Heartbeat, Progress
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
from polarity.inference.package import ModelManifest, file_digest
from polarity.inference.placement import Placement
from polarity.inference.scorers import GRAPH, graph_of
from polarity.inference.session import Session
from polarity.inference.softmax import softmax
from polarity.inference.traits import Traits
from polarity.text.tokens import tokenize
from polarity.text.tweets import FloatArray, Tweets
from polarity.text.vocabulary import VOCABULARY, Vocabulary

if TYPE_CHECKING:
    import tensorflow as tf

    from polarity.text.embeddings import Vectors

FILES = (GRAPH, VOCABULARY)


class BilstmConfig(ModelSection):
    """A bidirectional LSTM on word vectors."""

    vectors: Path | Literal["word2vec"] | None = None
    """A GloVe text file (plain, gzipped or zipped), or `word2vec` to train vectors on the training tweets. Default: the
    model learns its own."""
    vector_size: int = Field(100, ge=4)
    """Dimension of the vectors that the model learns itself."""
    word2vec_size: int = Field(100, ge=0)
    """Dimension of the Word2Vec vectors. With a vectors file, they are appended to its vectors; 0 disables that."""
    word2vec_epochs: int = Field(10, ge=1)
    """Passes of Word2Vec over the training tweets."""
    vectors_rate: float = Field(0.03, ge=0, le=1)
    """Learning rate of vectors from a file or Word2Vec, as a fraction of the model's; 0 freezes them."""
    max_vocabulary: int = Field(30_000, ge=100)
    """Maximum vocabulary size; the most frequent words of the training tweets are kept."""
    units: int = Field(96, ge=4)
    """LSTM units in each direction."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Dropout rate on the vectors and before the output layer."""
    epochs: int = Field(8, ge=1)
    """Maximum number of epochs, with a cosine decay of the learning rate; the best one on validation is kept."""
    patience: int = Field(2, ge=1)
    """Stop after this many epochs without a better validation loss."""
    batch_size: int = Field(128, ge=1)
    """Tweets per step."""
    learning_rate: float = Field(4e-3, gt=0)
    """Initial learning rate of Adam."""
    max_tokens: int = Field(48, ge=4)
    """Truncate tweets to this many tokens; real tweets have about 20."""
    class_weight: Literal["balanced"] | None = None
    """`balanced` weights classes by their inverse frequency."""
    calibrate: bool = True
    """Scale the logits by a temperature fitted on validation."""

    @model_validator(mode="after")
    def _word2vec_has_a_size(self) -> Self:
        if self.vectors == "word2vec" and not self.word2vec_size:
            raise ValueError("Got vectors='word2vec' and word2vec_size=0; it must be at least 1.")
        return self


class Bilstm(Family[BilstmConfig]):
    """A bidirectional LSTM on word vectors, pooled over the tweet."""

    name = "bilstm"
    section = BilstmConfig
    traits = Traits(gpu=True, shard_rows=2_000)
    search_space: ClassVar[SearchSpace] = {
        "learning_rate": Range(low=1e-3, high=1e-2, log=True),
        "batch_size": [64, 128, 256],
        "units": [32, 64, 96, 128],
        "dropout": Range(low=0.1, high=0.5),
    }
    libraries = ("numpy", "tensorflow", "tf-keras", "gensim", "onnx", "onnxruntime", "ftfy")
    profiles: ClassVar[Profiles] = {
        "demo": {"bilstm": {"units": 32, "vector_size": 50, "epochs": 8, "batch_size": 32}},
        "full": {
            "bilstm": {
                "vectors": "glove.twitter.27B.200d.txt",
                "units": 128,
                "batch_size": 512,
                "max_vocabulary": 100_000,
            }
        },
    }

    def models(self) -> Mapping[str, BilstmConfig]:
        return {"bilstm": BilstmConfig(), "bilstm-word2vec": BilstmConfig(vectors="word2vec")}

    def classifier(self, section: BilstmConfig, *, name: str, seed: int) -> BilstmClassifier:
        return BilstmClassifier(section, name=name, seed=seed)

    def scorer(self, folder: Path, manifest: ModelManifest, placement: Placement) -> BilstmScorer:
        return BilstmScorer(folder, manifest, placement=placement)

    def external_inputs(self, section: BilstmConfig) -> Mapping[str, ExternalInput]:
        if not isinstance(section.vectors, Path):
            return {}
        if not section.vectors.is_file():
            raise ConfigurationError(
                f"The vectors file {section.vectors} does not exist; give a GloVe text file, plain, gzipped or zipped."
            )
        return {"vectors": ExternalInput(file_digest(section.vectors), "file")}

    def check(self, model: str, section: BilstmConfig) -> list[str]:
        from polarity.text.embeddings import check_vectors

        if isinstance(section.vectors, Path):
            return check_vectors(section.vectors).remarks
        if section.vectors is None:
            return [f"{model} learns its own word vectors, because --{section_name(model)}.vectors is not set."]
        return []


class BilstmScorer:
    """An ONNX graph that reads GloVe tokens."""

    def __init__(self, folder: Path, manifest: ModelManifest, *, placement: Placement) -> None:
        self._vocabulary = Vocabulary.read(folder / VOCABULARY)
        self._max_tokens = manifest.max_tokens
        self._session = Session(folder / graph_of(manifest, placement), placement=placement)
        # A graph with a smaller table of embeddings would fail only at the first text with one of the last words.
        self._session.logits([[self._vocabulary.rows - 1]])

    def logits(self, texts: Sequence[str]) -> FloatArray:
        """Logits of shape (n_texts, n_labels) for at least one repaired text."""
        return self._session.logits([self._vocabulary.ids(tokenize(text), limit=self._max_tokens) for text in texts])


class BilstmClassifier:
    """An unfitted BiLSTM."""

    def __init__(self, config: BilstmConfig, *, name: str, seed: int) -> None:
        self._config = config
        self._name = name
        self._seed = seed
        self.checkpoints: Checkpoints | None = None

    def fit(self, train: Tweets, validation: Tweets, progress: Progress) -> FittedBilstm:
        """Fit on `train`. `validation` selects the epoch with the lowest loss and fits the temperature.

        Raises
        ------
        ConfigurationError
            If the vectors file cannot be read, or the loss becomes NaN or infinite.
        """
        with Heartbeat(progress) as report:
            return self._fit(train, validation, report)

    def _fit(self, train: Tweets, validation: Tweets, progress: Progress) -> FittedBilstm:
        config = self._config
        tokens = [
            tokenize(text) for text in CountedReads(train.texts, lambda reads: progress(0.02 * reads, "tokenizing"))
        ]
        sources = self._vectors(tokens, progress)
        known = {word for vectors in sources for word in vectors.words}
        counts = Counter(word for text in tokens for word in text)
        vocabulary = Vocabulary.of(counts, known=known, size=config.max_vocabulary)

        progress(0.1, "starting TensorFlow")
        start_tensorflow(seed=self._seed)
        import tensorflow as tf

        initial = _initial_vectors(vocabulary, sources, size=config.vector_size, seed=self._seed)
        build = partial(_model, config, initial, len(train.label_names))
        network = Network(build())
        steps = -(-len(train) // config.batch_size) * config.epochs
        network.keras.compile(
            optimizer=tf.keras.optimizers.Adam(
                tf.keras.optimizers.schedules.CosineDecay(config.learning_rate, steps), clipnorm=1.0
            ),
            loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        ids = [vocabulary.ids(text, limit=config.max_tokens) for text in tokens]
        validation_ids = [vocabulary.ids(tokenize(text), limit=config.max_tokens) for text in validation.texts]
        curve = LearningCurve(
            network,
            validation_ids,
            validation.labels,
            progress,
            epochs=config.epochs,
            rows=len(ids),
            batch_size=config.batch_size,
            start=0.12,
            diverged=f"Lower --{section_name(self._name)}.learning_rate, which is {config.learning_rate:g}.",
            patience=config.patience,
            checkpoints=self.checkpoints,
        )

        def train_epochs(epochs: int, steps: int, done: int) -> None:
            network.keras.fit(
                training_dataset(ids, train.labels, config.batch_size, seed=self._seed, skip=done),
                steps_per_epoch=steps,
                epochs=epochs,
                class_weight=class_weights(train) if config.class_weight else None,
                callbacks=[curve.callback()],
                verbose=0,
            )

        curve.fit(train_epochs)
        network, logits = curve.restore_best(build)
        temperature = fit_temperature(logits, validation.labels) if config.calibrate else 1.0
        notes = {
            "vocabulary": len(vocabulary),
            "vectors_found": len(known),
            "train_rows": len(train),
            "best_epoch": curve.best + 1,
            "temperature": temperature,
        }
        progress(1.0, f"kept epoch {curve.best + 1} of {len(curve.epochs)}", **curve.epochs[curve.best])
        return FittedBilstm(
            config=config,
            network=network,
            vocabulary=vocabulary,
            temperature=temperature,
            history=History(tuple(curve.epochs), notes),
            name=self._name,
            validation=validation,
            validation_proba=softmax(logits, temperature=temperature),
        )

    def _vectors(self, tokens: Sequence[Sequence[str]], progress: Progress) -> list[Vectors]:
        """The configured vectors: those of the file, then those of Word2Vec."""
        from polarity.text.embeddings import read_vectors

        config, found = self._config, []
        if isinstance(config.vectors, Path):
            progress(0.02, f"reading {config.vectors.name}")
            found.append(read_vectors(config.vectors, {word for text in tokens for word in text}))
        if config.vectors is not None and config.word2vec_size:
            from polarity.text.word2vec import train_word2vec

            passes = config.word2vec_epochs + 1
            trained = train_word2vec(
                CountedReads(tokens, lambda reads: progress(0.02 + 0.08 * reads / passes, "training word vectors")),
                size=config.word2vec_size,
                epochs=config.word2vec_epochs,
                min_count=2,
                seed=self._seed,
            )
            found.append(trained)
        return found


@dataclass(frozen=True)
class FittedBilstm:
    """The fitted network, its vocabulary and its temperature."""

    config: BilstmConfig
    network: Network
    vocabulary: Vocabulary
    temperature: float
    history: History
    name: str
    validation: Tweets
    validation_proba: FloatArray

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities of shape (n_texts, n_labels), float32, rows summing to 1."""
        ids = [self.vocabulary.ids(tokenize(text), limit=self.config.max_tokens) for text in texts]
        return softmax(self.network.logits(ids), temperature=self.temperature)

    def export(self, folder: Path) -> PackagedModel:
        """Write an ONNX graph and the vocabulary.

        Raises
        ------
        ArtifactError
            If the package does not agree with the network on the validation tweets.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_bilstm(_weights(self.network.keras, self.config), folder / GRAPH)
        self.vocabulary.write(folder / VOCABULARY)
        return write_package(
            Bilstm(),
            folder,
            FILES,
            name=self.name,
            temperature=self.temperature,
            validation=self.validation,
            trained=self.validation_proba,
            max_tokens=self.config.max_tokens,
        )


def _initial_vectors(vocabulary: Vocabulary, sources: Sequence[Vectors], *, size: int, seed: int) -> FloatArray:
    """Rows for padding, the unknown word and each word, concatenated over the sources.

    Words missing from a source get random vectors with the same standard deviation. Without any source, all rows are
    random, of dimension `size`.
    """
    from polarity.text.embeddings import Vectors

    random = np.random.default_rng(seed)
    parts = []
    for vectors in sources or [Vectors({}, np.empty((0, size), np.float32))]:
        spread = float(vectors.matrix.std()) if len(vectors.words) else 0.1
        rows = random.normal(0, spread, (vocabulary.rows, vectors.size)).astype(np.float32)
        for row, word in enumerate(vocabulary.words, vocabulary.rows - len(vocabulary)):
            if word in vectors.words:
                rows[row] = vectors.matrix[vectors.words[word]]
        parts.append(rows)
    table = np.concatenate(parts, axis=1)
    table[0] = 0
    return table


def _model(config: BilstmConfig, vectors: FloatArray, n_labels: int) -> tf.keras.Model:
    import tensorflow as tf

    keras = tf.keras
    ids = keras.Input((None,), dtype="int32")
    given = keras.layers.Embedding(
        *vectors.shape,
        embeddings_initializer=keras.initializers.Constant(vectors),
        mask_zero=True,
        trainable=False,
        name="given",
    )(ids)
    # scale the learned part, not its gradient: the size of Adam's steps does not depend on that of the gradient
    learned = keras.layers.Embedding(*vectors.shape, embeddings_initializer="zeros", name="learned")(ids)
    words = keras.layers.Add()([given, _learning_share(config) * learned])
    words = keras.layers.SpatialDropout1D(config.dropout)(words)
    states = keras.layers.Bidirectional(keras.layers.LSTM(config.units, return_sequences=True), name="states")(words)
    outside = tf.cast(tf.equal(ids, 0), states.dtype)[:, :, None] * states.dtype.min / 2
    peak = tf.reduce_max(states + outside, axis=1)
    mean = keras.layers.GlobalAveragePooling1D()(states)
    pooled = keras.layers.Dropout(config.dropout)(tf.concat([peak, mean], axis=1))
    # logits in full precision even if the rest is computed in half precision
    return keras.Model(ids, keras.layers.Dense(n_labels, dtype="float32", name="logits")(pooled))


def _learning_share(config: BilstmConfig) -> float:
    return 1.0 if config.vectors is None else config.vectors_rate


def _weights(model: tf.keras.Model, config: BilstmConfig) -> BilstmWeights:
    (given,), (learned,) = (model.get_layer(name).get_weights() for name in ("given", "learned"))
    words = given + np.float32(_learning_share(config)) * learned
    forward_and_backward = model.get_layer("states").get_weights()
    return BilstmWeights(
        words, forward_and_backward[:3], forward_and_backward[3:], *model.get_layer("logits").get_weights()
    )
