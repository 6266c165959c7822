"""A bidirectional LSTM on word vectors, in TensorFlow's Keras."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

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
from polarity.models.watched import Watched
from polarity.packaging.onnx_bilstm import BilstmWeights, write_bilstm
from polarity.packaging.parity import require_parity
from polarity.sections import BilstmConfig
from polarity.serving.package import ModelManifest
from polarity.serving.predictor import Predictor
from polarity.serving.scorers import BILSTM_FILES, GRAPH
from polarity.serving.softmax import softmax
from polarity.text.embeddings import Vectors, read_vectors
from polarity.text.tokens import tokenize
from polarity.text.vocabulary import VOCABULARY, Vocabulary

if TYPE_CHECKING:
    import tensorflow as tf


class BilstmClassifier:
    """Word vectors, read in both directions, pooled over the tweet."""

    family: ClassVar[str] = "bilstm"

    def __init__(self, config: BilstmConfig, *, name: str, seed: int) -> None:
        self._config = config
        self._name = name
        self._seed = seed

    def fit(self, train: Tweets, validation: Tweets, progress: Progress) -> FittedBilstm:
        """Fit on `train`; the epoch with the smallest loss on `validation` is kept, which also gives the temperature.

        Raises
        ------
        ConfigurationError
            If the file of vectors cannot be read.
        """
        with Heartbeat(progress) as report:
            return self._fit(train, validation, report)

    def _fit(self, train: Tweets, validation: Tweets, progress: Progress) -> FittedBilstm:
        config = self._config
        train = stratified_subsample(train, config.train_rows, seed=self._seed)
        tokens = [
            tokenize(text) for text in Watched(train.texts, lambda reads: progress(0.02 * reads, "splitting words"))
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
        steps = -(-len(train) // config.batch_size)
        network.keras.compile(
            optimizer=tf.keras.optimizers.Adam(
                tf.keras.optimizers.schedules.CosineDecay(config.learning_rate, steps * config.epochs), clipnorm=1.0
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
            steps=steps,
            start=0.12,
            patience=config.patience,
        )
        network.keras.fit(
            training_dataset(ids, train.labels, config.batch_size, seed=self._seed),
            steps_per_epoch=steps,
            epochs=config.epochs,
            class_weight=class_weights(train) if config.class_weight else None,
            callbacks=[curve.callback()],
            verbose=0,
        )
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
        """The vectors of the file, then those of Word2Vec; what the configuration has of them."""
        config, found = self._config, []
        if isinstance(config.vectors, Path):
            progress(0.02, f"reading {config.vectors.name}")
            found.append(read_vectors(config.vectors, {word for text in tokens for word in text}))
        if config.vectors is not None and config.word2vec_size:
            from polarity.text.word2vec import train_word2vec

            passes = config.word2vec_epochs + 1
            trained = train_word2vec(
                Watched(tokens, lambda reads: progress(0.02 + 0.08 * reads / passes, "training word vectors")),
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
            If what was written does not agree with the network on the validation tweets.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_bilstm(_weights(self.network.keras, self.config), folder / GRAPH)
        self.vocabulary.write(folder / VOCABULARY)
        manifest = ModelManifest.describe(
            folder,
            BILSTM_FILES,
            family=BilstmClassifier.family,
            name=self.name,
            labels=self.validation.label_names,
            precision="fp32",
            temperature=self.temperature,
            max_tokens=self.config.max_tokens,
            card={},
        )
        manifest.write(folder)
        parity = require_parity(
            self.validation_proba,
            Predictor.load(folder)(self.validation.texts),
            what=f"'{self.name}' as packaged in '{folder}'",
        )
        manifest.with_card({"parity": parity}).write(folder)
        return PackagedModel(folder, manifest.size_bytes, manifest.precision)


def _initial_vectors(vocabulary: Vocabulary, sources: Sequence[Vectors], *, size: int, seed: int) -> FloatArray:
    """Rows for padding, the unknown word and each word: what each source has for it, side by side.

    Where a source has nothing there are random numbers of the same spread, `size` of them if there is no source.
    """
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
    # what is learnt is made smaller, not its gradient: Adam's steps are of one size whatever the gradient's
    learnt = keras.layers.Embedding(*vectors.shape, embeddings_initializer="zeros", name="learnt")(ids)
    words = keras.layers.Add()([given, _learning_share(config) * learnt])
    words = keras.layers.SpatialDropout1D(config.dropout)(words)
    states = keras.layers.Bidirectional(keras.layers.LSTM(config.units, return_sequences=True), name="states")(words)
    outside = tf.cast(tf.equal(ids, 0), states.dtype)[:, :, None] * states.dtype.min / 2
    peak = tf.reduce_max(states + outside, axis=1)
    mean = keras.layers.GlobalAveragePooling1D()(states)
    pooled = keras.layers.Dropout(config.dropout)(tf.concat([peak, mean], axis=1))
    # logits in full precision also where the rest is computed in half
    return keras.Model(ids, keras.layers.Dense(n_labels, dtype="float32", name="logits")(pooled))


def _learning_share(config: BilstmConfig) -> float:
    return 1.0 if config.vectors is None else config.vectors_rate


def _weights(model: tf.keras.Model, config: BilstmConfig) -> BilstmWeights:
    (given,), (learnt,) = (model.get_layer(name).get_weights() for name in ("given", "learnt"))
    words = given + np.float32(_learning_share(config)) * learnt
    forward_and_backward = model.get_layer("states").get_weights()
    return BilstmWeights(
        words, forward_and_backward[:3], forward_and_backward[3:], *model.get_layer("logits").get_weights()
    )
