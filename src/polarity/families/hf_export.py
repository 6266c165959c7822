"""A transformer as a folder of the Hugging Face hub: what `pipeline("text-classification", FOLDER)` takes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from polarity.errors import ArtifactError
from polarity.families.encoder_tokenizers import (
    BPE_CODES,
    SPECIAL_TOKENS,
    TOKENIZER,
    TOKENIZER_CONFIG,
    VOCABULARY,
)
from polarity.families.encoder_weights import POSITIONS, SAFETENSORS, TOKEN_TYPES, Weights
from polarity.families.exports import CARD, ExportSource, model_card
from polarity.families.layouts import DISTILBERT, LAYOUTS, Layout
from polarity.inference.subwords import SubwordTokenizer
from polarity.text import cleaning

if TYPE_CHECKING:
    from onnx import ModelProto

_ROLES = {
    "bos_token": ("<s>",),
    "cls_token": ("<s>", "[CLS]"),
    "eos_token": ("</s>",),
    "sep_token": ("</s>", "[SEP]"),
    "unk_token": ("<unk>", "[UNK]"),
    "pad_token": ("<pad>", "[PAD]"),
    "mask_token": ("<mask>", "[MASK]"),
}

_USAGE = """\
```python
from transformers import pipeline

from cleaning import repair  # cleaning.py in this folder; needs `pip install ftfy=={ftfy}`

classify = pipeline("text-classification", "FOLDER OR NAME ON THE HUB")
classify(repair("what a lovely day"), truncation=True)
```

The model was trained on, and is served, texts that `repair` has cleaned: entities, mojibake, literal escapes, control
characters and irregular white space. Call it first, as above; for clean text it changes nothing. `truncation=True` cuts
a text to the {tokens} tokens that the served model reads.{rules}

The weights are those in full precision; PyTorch and TensorFlow load them. The temperature of {temperature:.4g} that the
served model divides its logits by is part of the output layer.{int8}
"""


def write_hf(source: ExportSource, folder: Path) -> None:
    """Write configuration, weights, tokenizer and model card into an empty folder.

    Raises
    ------
    ArtifactError
        If the graph in full precision is not at hand.
    """
    import ftfy
    import onnx
    from safetensors.numpy import save_file

    manifest = source.manifest
    if source.graph is None:
        raise ArtifactError(
            f"The package of '{manifest.name}' has weights in {manifest.precision}, and the store does not have its "
            "graph in full precision any more. Train it again and export that version: a fit keeps the graph in the "
            "store. With `quantise` false, the package itself is in full precision."
        )
    layout = LAYOUTS[manifest.family]
    tokenizer = SubwordTokenizer.read(source.packaged)
    special = _special_tokens(tokenizer)
    graph = onnx.load(source.graph)
    padding = _vocabulary(tokenizer).get(special.get("pad_token", ""), layout.padding)
    weights = _weights(graph, layout, padding=padding, temperature=manifest.temperature)
    config = _config(graph, weights, layout, padding=padding, labels=manifest.labels)
    save_file(
        {name: np.ascontiguousarray(value, np.float32) for name, value in weights.items()},
        folder / SAFETENSORS,
        metadata={"format": "pt"},
    )
    _write_json(folder / "config.json", config)
    _write_tokenizer(tokenizer, special, folder, max_tokens=manifest.max_tokens)
    shutil.copyfile(str(cleaning.__file__), folder / "cleaning.py")
    rules = int8 = ""
    if tokenizer.rules is not None:
        rules = " The tokenizer rewrites user names, links and emoji itself, for which it needs `pip install emoji`."
    if manifest.precision != "fp32":
        int8 = f" What is served has weights in {manifest.precision}, so its probabilities differ slightly."
    usage = _USAGE.format(
        ftfy=ftfy.__version__,
        tokens=manifest.max_tokens,
        temperature=manifest.temperature,
        rules=rules,
        int8=int8,
    )
    header = {"pipeline_tag": "text-classification", "library_name": "transformers", "tags": ["sentiment", "tweets"]}
    (folder / CARD).write_text(model_card(manifest, usage, header=header), encoding="utf-8")


def _weights(graph: ModelProto, layout: Layout, *, padding: int, temperature: float) -> Weights:
    """The graph's weights by their PyTorch names, with the temperature in the output layer."""
    from onnx import numpy_helper

    constants: dict[str, npt.NDArray[Any]] = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer
    }
    width = constants["words"].shape[1]
    found: Weights = {
        "embeddings.word_embeddings.weight": constants["words"],
        # The token type is part of the positions already.
        POSITIONS: np.vstack([np.zeros((_leading(layout, padding), width), np.float32), constants["positions"]]),
    }
    if layout is not DISTILBERT:
        found[TOKEN_TYPES] = np.zeros((_token_types(layout), width), np.float32)

    def dense(name: str, kernel: npt.NDArray[Any], bias: npt.NDArray[Any]) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = kernel.T, bias

    def norm(name: str, prefix: str) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = constants[f"{prefix}.scale"], constants[f"{prefix}.shift"]

    norm("embeddings.LayerNorm", "embeddings")
    for number in range(_layers(constants)):
        names = {field: layout.layer.format(number) + part for field, part in layout.parts.items()}
        three = zip(
            ("query", "key", "value"),
            np.split(constants[f"layer{number}.qkv.kernel"], 3, axis=1),
            np.split(constants[f"layer{number}.qkv.bias"], 3),
            strict=True,
        )
        for field, kernel, bias in three:
            dense(names[field], kernel, bias)
        for field in ("attended", "inner", "outer"):
            prefix = f"layer{number}.{field}"
            dense(names[field], constants[f"{prefix}.kernel"], constants[f"{prefix}.bias"])
        for field in ("attended", "outer"):
            norm(names[f"{field}_norm"], f"layer{number}.{field}")
    encoder = {f"{layout.prefix}.{name}": value for name, value in found.items()}
    found = {}
    dense(layout.head, constants["head.kernel"], constants["head.bias"])
    dense(layout.output, constants["output.kernel"] / temperature, constants["output.bias"] / temperature)
    pooled = layout.head.startswith("pooler")
    return encoder | {
        (f"{layout.prefix}.{name}" if pooled and name.startswith("pooler") else name): value
        for name, value in found.items()
    }


def _config(
    graph: ModelProto, weights: Weights, layout: Layout, *, padding: int, labels: tuple[str, ...]
) -> dict[str, Any]:
    nodes = {node.op_type: {given.name: given for given in node.attribute} for node in graph.graph.node}
    prefix = f"{layout.prefix}."
    vocabulary, width = weights[f"{prefix}embeddings.word_embeddings.weight"].shape
    sizes = {
        "vocabulary": vocabulary,
        "positions": len(weights[prefix + POSITIONS]),
        "width": width,
        "inner_width": len(weights[f"{prefix}{layout.layer.format(0)}{layout.parts['inner']}.bias"]),
        "layers": sum(name.endswith(f"{layout.parts['inner']}.bias") for name in weights),
        "heads": nodes["Attention"]["num_heads"].i,
        "dropout": 0.1,
        "attention_dropout": 0.1,
    }
    config = {
        "architectures": [layout.model_class.removeprefix("TF")],
        "model_type": layout.model_types[0],
        **{layout.config_keys[field]: value for field, value in sizes.items()},
        layout.activation_key: "gelu",
        "pad_token_id": padding,
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
        "problem_type": "single_label_classification",
    }
    if layout is not DISTILBERT:
        config |= {
            "type_vocab_size": _token_types(layout),
            "layer_norm_eps": float(f"{nodes['SkipLayerNormalization']['epsilon'].f:.6g}"),
        }
    return config


def _layers(constants: Mapping[str, object]) -> int:
    return sum(name.endswith(".qkv.kernel") for name in constants)


def _leading(layout: Layout, padding: int) -> int:
    return padding + 1 if layout.leading_positions else 0


def _token_types(layout: Layout) -> int:
    return 1 if layout.leading_positions else 2


def _vocabulary(tokenizer: SubwordTokenizer) -> dict[str, int]:
    from tokenizers import Tokenizer

    found: dict[str, int] = Tokenizer.from_str(tokenizer.definition).get_vocab(with_added_tokens=True)
    return found


def _special_tokens(tokenizer: SubwordTokenizer) -> dict[str, str]:
    known = _vocabulary(tokenizer)
    named = {role: next((token for token in tokens if token in known), None) for role, tokens in _ROLES.items()}
    return {role: token for role, token in named.items() if token is not None}


def _write_tokenizer(
    tokenizer: SubwordTokenizer, special: Mapping[str, str], folder: Path, *, max_tokens: int | None
) -> None:
    definition = json.loads(tokenizer.definition)
    limit = definition["truncation"]["max_length"] if definition.get("truncation") else max_tokens
    options: dict[str, Any] = {
        **special,
        "model_max_length": limit,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    if tokenizer.rules is None:
        # The library turns truncation on for the calls that ask for it.
        (folder / TOKENIZER).write_text(json.dumps(definition | {"truncation": None}), encoding="utf-8")
        options["tokenizer_class"] = "PreTrainedTokenizerFast"
    else:
        _write_fastbpe(definition["model"], tokenizer.rules.vocabulary, folder)
        options |= {"tokenizer_class": "BertweetTokenizer", "normalization": tokenizer.rules.normalise}
    _write_json(folder / TOKENIZER_CONFIG, options)
    _write_json(folder / SPECIAL_TOKENS, dict(special))


def _write_fastbpe(model: Mapping[str, Any], vocabulary: int, folder: Path) -> None:
    """BERTweet's own files, from the tokenizer that was made of them."""
    pieces = {number: piece for piece, number in model["vocab"].items()}
    entries = [pieces[number] for number in sorted(pieces) if 4 <= number < vocabulary and pieces[number] != "<mask>"]
    written = [piece.removesuffix("</w>") if piece.endswith("</w>") else f"{piece}@@" for piece in entries]
    (folder / VOCABULARY).write_text("".join(f"{entry} 1\n" for entry in written), encoding="utf-8")
    merges = (merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"])
    (folder / BPE_CODES).write_text("".join(f"{merge} 1\n" for merge in merges), encoding="utf-8")


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
