"""Small encoders of random weights in the form of the hub: configuration, tokenizer files and PyTorch's weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from polarity.data.corpus import generate_tweets
from polarity.families.encoder_weights import expected_shapes
from polarity.families.layouts import ROBERTA, EncoderShape
from polarity.text.bertweet import TweetNormaliser

VOCABULARY = 400
WIDTH = 32
SPECIAL = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}


def corpus(rows: int = 600) -> list[str]:
    """Texts of the generated corpus."""
    return [
        str(text) for text in generate_tweets(rows=rows, labels=("negative", "positive"), seed=5)["text"].to_pylist()
    ]


def write_encoder(kind: str, folder: Path) -> Path:
    """Write an encoder of one of `KINDS`, and return its folder.

    The model has two layers of width 32 and 66 positions, and as many tokens as its tokenizer.
    """
    folder.mkdir(parents=True)
    write_tokenizer, model_type, tokenizer_class = KINDS[kind]
    vocabulary = write_tokenizer(folder, corpus())
    config = {
        "architectures": ["RobertaForMaskedLM"],
        "model_type": model_type,
        "vocab_size": vocabulary,
        "max_position_embeddings": 66,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-05,
        "type_vocab_size": 1,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text(json.dumps(SPECIAL))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": tokenizer_class, "model_max_length": 64, **SPECIAL})
    )
    shape = EncoderShape(
        vocabulary=vocabulary,
        positions=66,
        width=WIDTH,
        inner_width=2 * WIDTH,
        layers=2,
        heads=2,
        dropout=0.1,
        attention_dropout=0.1,
        first_position=2,
        token_types=1,
        epsilon=1e-5,
    )
    random = np.random.default_rng(0)
    weights = {}
    for name, size in expected_shapes(shape, ROBERTA).items():
        centre = 1.0 if name.endswith("LayerNorm.weight") else 0.0
        weights[f"roberta.{name}"] = (centre + random.normal(0, 0.1, size)).astype(np.float32)
    weights["lm_head.bias"] = np.zeros(vocabulary, np.float32)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _byte_level(folder: Path, texts: Sequence[str]) -> int:
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        texts, vocab_size=VOCABULARY, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], show_progress=False
    )
    tokenizer.save_model(str(folder))
    return int(tokenizer.get_vocab_size())


def _fast_byte_level(folder: Path, texts: Sequence[str]) -> int:
    """The same as `tokenizer.json`, made by the library whose models are stored so."""
    from transformers import RobertaTokenizerFast

    vocabulary = _byte_level(folder, texts)
    RobertaTokenizerFast.from_pretrained(str(folder)).save_pretrained(str(folder))
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    return vocabulary


def _fastbpe(folder: Path, texts: Sequence[str]) -> int:
    """`vocab.txt` and `bpe.codes`; as fastBPE does, without pieces that no text ends up with."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False
    )
    normalise = TweetNormaliser({})
    written = [normalise(text) for text in texts]
    tokenizer.train_from_iterator(written, trainer)
    pieces = sorted({piece for encoding in tokenizer.encode_batch(written) for piece in encoding.tokens} - {"<unk>"})
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    (folder / "bpe.codes").write_text("".join(f"{left} {right} 9\n" for left, right in merges))
    entries = [piece.removesuffix("</w>") if piece.endswith("</w>") else f"{piece}@@" for piece in pieces]
    (folder / "vocab.txt").write_text("".join(f"{entry} 9\n" for entry in entries))
    return 4 + len(entries) + 1


def _sentencepiece(folder: Path, texts: Sequence[str]) -> int:
    import sentencepiece

    with TemporaryDirectory() as temporary:
        prefix = Path(temporary) / "trained"
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_prefix=str(prefix),
            vocab_size=VOCABULARY,
            model_type="unigram",
            hard_vocab_limit=False,
            minloglevel=2,
        )
        model = prefix.with_suffix(".model").read_bytes()
    (folder / "sentencepiece.bpe.model").write_bytes(model)
    return int(sentencepiece.SentencePieceProcessor(model_proto=model).get_piece_size())


def _xlm(folder: Path, texts: Sequence[str]) -> int:
    return _sentencepiece(folder, texts) + 2  # <pad> and <mask>


def _camembert(folder: Path, texts: Sequence[str]) -> int:
    return _sentencepiece(folder, texts) + 5  # four tokens of fairseq, and <mask>


KINDS: dict[str, tuple[Callable[[Path, Sequence[str]], int], str, str]] = {
    "byte-level": (_byte_level, "roberta", "RobertaTokenizer"),
    "tokenizer.json": (_fast_byte_level, "roberta", "RobertaTokenizer"),
    "bertweet": (_fastbpe, "roberta", "BertweetTokenizer"),
    "xlm-t": (_xlm, "xlm-roberta", "XLMRobertaTokenizer"),
    "camembert": (_camembert, "camembert", "CamembertTokenizer"),
}


def reference_tokenizer(folder: Path) -> Any:
    """The tokenizer of `transformers` for an encoder."""
    from transformers import AutoTokenizer

    options = {"normalization": True} if (folder / "bpe.codes").is_file() else {}
    return AutoTokenizer.from_pretrained(str(folder), **options)
