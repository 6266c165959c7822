"""How each family turns repaired texts into logits when it serves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from polarity.data.tweets import FloatArray
from polarity.errors import ArtifactError
from polarity.serving.device import Place
from polarity.serving.package import HALF_GRAPH, ModelManifest
from polarity.serving.session import Session
from polarity.serving.tfidf import TfidfModel
from polarity.text.tokens import tokenize
from polarity.text.vocabulary import VOCABULARY, Vocabulary

GRAPH = "model.onnx"
TOKENIZER = "tokenizer.json"
BILSTM_FILES = (GRAPH, VOCABULARY)
TRANSFORMER_FILES = (GRAPH, TOKENIZER)


class Scorer(Protocol):
    """A loaded model without its softmax."""

    def logits(self, texts: Sequence[str]) -> FloatArray:
        """Logits of shape (n_texts, n_labels) for repaired texts; at least one text."""
        ...


@runtime_checkable
class Additive(Protocol):
    """A scorer whose logits are sums over the words."""

    def shares(self, text: str) -> FloatArray:
        """Of shape (n_labels, 1 + n_words) for a repaired text: what no word adds, and what each does."""
        ...


# Families whose scorers are.
ADDITIVE = frozenset({"logistic"})


def graph_of(manifest: ModelManifest, place: Place) -> str:
    """The file of the graph that suits a place: in half precision on a GPU, where the package has it."""
    return HALF_GRAPH if place.kind == "gpu" and HALF_GRAPH in manifest.files else GRAPH


def load_scorer(folder: Path, manifest: ModelManifest, *, place: Place) -> Scorer:
    """The scorer of the manifest's family.

    Raises
    ------
    ArtifactError
        If no scorer reads that family.
    """
    match manifest.family:
        case "logistic":
            return TfidfModel.load(folder)
        case "bilstm":
            return BilstmScorer(folder, manifest, place=place)
        case "distilbert" | "bert":
            return TransformerScorer(folder, manifest, place=place)
    raise ArtifactError(f"'{folder}' holds a model of family '{manifest.family}', which this version cannot serve.")


class BilstmScorer:
    """An ONNX graph on GloVe's tokens."""

    def __init__(self, folder: Path, manifest: ModelManifest, *, place: Place) -> None:
        self._vocabulary = Vocabulary.read(folder / VOCABULARY)
        self._max_tokens = manifest.max_tokens
        self._session = Session(folder / graph_of(manifest, place), place=place)

    def logits(self, texts: Sequence[str]) -> FloatArray:
        return self._session.logits([self._vocabulary.ids(tokenize(text), limit=self._max_tokens) for text in texts])


class TransformerScorer:
    """An ONNX graph on WordPieces; the tokenizer's file says where texts are cut."""

    def __init__(self, folder: Path, manifest: ModelManifest, *, place: Place) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        self._session = Session(folder / graph_of(manifest, place), place=place)

    def logits(self, texts: Sequence[str]) -> FloatArray:
        return self._session.logits([encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))])
