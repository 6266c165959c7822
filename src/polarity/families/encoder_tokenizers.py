"""The tokenizers of pretrained encoders, as one `tokenizer.json` each whatever files they come in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polarity.errors import ConfigurationError
from polarity.inference.subwords import SubwordTokenizer, TweetRules

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER, VOCABULARY, SENTENCEPIECE = "tokenizer.json", "vocab.txt", "sentencepiece.bpe.model"
BPE_VOCABULARY, BPE_MERGES, BPE_CODES = "vocab.json", "merges.txt", "bpe.codes"
TOKENIZER_CONFIG, SPECIAL_TOKENS = "tokenizer_config.json", "special_tokens_map.json"

# The files that define a tokenizer, in order of preference. BERTweet's come first: a `tokenizer.json` beside them would
# lack its rules for user names, links and emoji.
_KINDS = (
    (VOCABULARY, BPE_CODES),
    (TOKENIZER,),
    (BPE_VOCABULARY, BPE_MERGES),
    (SENTENCEPIECE,),
    (VOCABULARY,),
)
TOKENIZER_FILES = (
    TOKENIZER, VOCABULARY, SENTENCEPIECE, BPE_VOCABULARY, BPE_MERGES, BPE_CODES, TOKENIZER_CONFIG, SPECIAL_TOKENS,
    "added_tokens.json",
)  # fmt: skip
_UNLIMITED = 1_000_000


@dataclass(frozen=True)
class TokenizerFiles:
    """The files in a folder that define a tokenizer.

    Attributes
    ----------
    names : tuple of str
        Those that are read, the defining ones first.
    kind : tuple of str
        The defining ones.
    """

    folder: Path
    kind: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def paths(self) -> list[Path]:
        """Paths of all files that are read."""
        return [self.folder / name for name in self.names]

    @property
    def config(self) -> dict[str, Any]:
        """Options and special tokens: those of `special_tokens_map.json`, then those of `tokenizer_config.json`."""
        found: dict[str, Any] = {}
        for name in (SPECIAL_TOKENS, TOKENIZER_CONFIG):
            if name in self.names:
                found |= json.loads((self.folder / name).read_text(encoding="utf-8"))
        return found


def find_tokenizer(name: str, folder: Path) -> TokenizerFiles:
    """Find the files of an encoder's tokenizer.

    Raises
    ------
    ConfigurationError
        If there are none.
    """
    kind = next((kind for kind in _KINDS if all((folder / file).is_file() for file in kind)), None)
    if kind is None:
        expected = ", ".join(" with ".join(kind) for kind in _KINDS[1:])
        raise ConfigurationError(
            f"The encoder '{name}' has neither {TOKENIZER} nor {VOCABULARY} nor another tokenizer in '{folder}'; "
            f"expected one of: {expected}."
        )
    options = [file for file in (TOKENIZER_CONFIG, SPECIAL_TOKENS) if (folder / file).is_file()]
    return TokenizerFiles(folder, kind, (*kind, *options))


def build_tokenizer(name: str, files: TokenizerFiles, *, vocabulary: int, max_tokens: int) -> SubwordTokenizer:
    """Build an encoder's tokenizer, truncating and without padding.

    Parameters
    ----------
    name : str
        Name of the encoder, for messages.
    files : TokenizerFiles
        Its files; read with `transformers` if they are those of a slow tokenizer other than WordPiece and BERTweet's.
    vocabulary : int
        Number of tokens that the encoder knows.
    max_tokens : int
        Maximum number of tokens, including the special ones; less if the tokenizer's own limit is smaller.

    Raises
    ------
    ConfigurationError
        If it has more tokens than the encoder, or cannot be read.
    """
    from tokenizers import Tokenizer

    rules = None
    if files.kind == (TOKENIZER,):
        tokenizer = Tokenizer.from_file(str(files.folder / TOKENIZER))
    elif files.kind == (VOCABULARY,):
        tokenizer = _wordpiece(files)
    elif BPE_CODES in files.kind:
        tokenizer, rules = _bertweet(files, vocabulary)
    else:
        tokenizer = _converted(name, files)
    if rules is None and tokenizer.get_vocab_size() > vocabulary:
        raise ConfigurationError(
            f"The tokenizer of the encoder '{name}' has {tokenizer.get_vocab_size():,} tokens, but its weights are for "
            f"{vocabulary:,}; the files in '{files.folder}' do not belong together."
        )
    _require_special_tokens(name, files, tokenizer)
    limit = files.config.get("model_max_length")
    if isinstance(limit, int) and limit < _UNLIMITED:
        max_tokens = min(max_tokens, limit)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return SubwordTokenizer(str(tokenizer.to_str()), rules)


def _wordpiece(files: TokenizerFiles) -> Tokenizer:
    """BERT's tokenizer for a plain vocabulary, lower-casing unless `tokenizer_config.json` disables it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordPiece.from_file(str(files.folder / VOCABULARY), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=bool(files.config.get("do_lower_case", True)))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    first, last = ((token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.BertProcessing(last, first)
    return tokenizer


def _converted(name: str, files: TokenizerFiles) -> Tokenizer:
    """A byte-level BPE or SentencePiece tokenizer, converted by the library that defines it."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    try:
        fast = AutoTokenizer.from_pretrained(str(files.folder), use_fast=True, local_files_only=True)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise ConfigurationError(
            f"The tokenizer of the encoder '{name}' cannot be read from {', '.join(files.kind)} in '{files.folder}': "
            f"{error}"
        ) from error
    return Tokenizer.from_str(fast.backend_tokenizer.to_str())


def _require_special_tokens(name: str, files: TokenizerFiles, tokenizer: Tokenizer) -> None:
    """Add the tokens that begin and end a text, as the encoder's files name them, if its tokenizer does not."""
    from tokenizers import processors

    if tokenizer.encode("").ids:
        return
    ends = [_text(files.config.get(role)) for role in ("cls_token", "sep_token")]
    pairs = [(token, tokenizer.token_to_id(token)) for token in ends if token]
    if len(pairs) != 2 or None in (number for _, number in pairs):
        raise ConfigurationError(
            f"The tokenizer of the encoder '{name}' adds no special tokens, and neither {SPECIAL_TOKENS} nor "
            f"{TOKENIZER_CONFIG} in '{files.folder}' names a cls_token and a sep_token of its vocabulary."
        )
    first, last = pairs
    tokenizer.post_processor = processors.BertProcessing(last, first)


def _text(token: Any) -> str | None:
    """A special token, which may be stored as its text or as an object."""
    return token.get("content") if isinstance(token, Mapping) else token


def _bertweet(files: TokenizerFiles, vocabulary: int) -> tuple[Tokenizer, TweetRules]:
    """BERTweet's tokenizer (Nguyen, Vu and Nguyen, "BERTweet", EMNLP 2020), and its rules before the tokenizer.

    Its files are those of fastBPE: a vocabulary whose entries inside a word end in `@@`, and merges. A merge may lead
    to a piece that the vocabulary lacks; such a piece gets an id behind the vocabulary, which means "unknown".
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    config = files.config
    first, padding, last, unknown, mask = (
        _text(config.get(role)) or usual
        for role, usual in (
            ("bos_token", "<s>"),
            ("pad_token", "<pad>"),
            ("eos_token", "</s>"),
            ("unk_token", "<unk>"),
            ("mask_token", "<mask>"),
        )
    )
    ids = {token: number for number, token in enumerate((first, padding, last, unknown))}
    number = len(ids)
    for line in (files.folder / VOCABULARY).read_text(encoding="utf-8").splitlines():
        piece, _, _ = line.strip().rpartition(" ")
        ids.setdefault(piece.removesuffix("@@") if piece.endswith("@@") else f"{piece}</w>", number)
        number += 1
    ids.setdefault(mask, number)
    lines = (files.folder / BPE_CODES).read_text(encoding="utf-8").split("\n")
    merges = [(left, right) for left, right, *_ in (line.split(" ") for line in lines if line.count(" ") >= 1)]
    number = max(vocabulary, number + 1)
    for piece in (piece for left, right in merges for piece in (left, right, left + right)):
        if piece not in ids:
            ids[piece] = number
            number += 1
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges, unk_token=unknown, end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing((last, ids[last]), (first, ids[first]))
    normalise = bool(config.get("normalization", True))
    return tokenizer, TweetRules(
        emoji=emoji_names() if normalise else {}, normalise=normalise, vocabulary=vocabulary, unknown=ids[unknown]
    )


def emoji_names() -> dict[str, str]:
    """The name of each emoji of one character, e.g. `:red_heart:`; variation selectors have none and vanish."""
    import emoji

    characters = [*(known for known in emoji.EMOJI_DATA if len(known) == 1), "\ufe0e", "\ufe0f"]
    return {character: emoji.demojize(character) for character in characters}
