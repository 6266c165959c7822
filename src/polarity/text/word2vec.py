"""Word vectors trained on the tweets themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from polarity.text.embeddings import Vectors


def train_word2vec(sentences: Iterable[Sequence[str]], *, size: int, epochs: int, min_count: int, seed: int) -> Vectors:
    """Train skip-gram vectors; the same sentences and seed give the same vectors.

    Parameters
    ----------
    sentences : iterable of token lists
        Iterated `epochs` + 1 times.
    size : int
        Dimension of the vectors.
    min_count : int
        Minimum frequency of a word that gets a vector.

    Notes
    -----
    T. Mikolov et al., "Distributed Representations of Words and Phrases and
    their Compositionality", NeurIPS 2013. Uses one worker, because the
    order of updates is not deterministic with several.
    """
    from gensim.models import Word2Vec

    model = Word2Vec(
        sentences,
        vector_size=size,
        window=5,
        min_count=min_count,
        sg=1,
        negative=5,
        epochs=epochs,
        workers=1,
        seed=seed,
    )
    return Vectors(dict(model.wv.key_to_index), model.wv.vectors)
