"""The layouts of encoders: how configuration and weights are named in DistilBERT, BERT and RoBERTa."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# TensorFlow's names of what PyTorch calls a weight or a bias.
_LEAVES = {"kernel": "weight", "gamma": "weight", "beta": "bias", "embeddings": "weight"}


@dataclass(frozen=True)
class EncoderShape:
    """The dimensions of an encoder, independent of their names in its layout.

    Attributes
    ----------
    positions : int
        Rows of the position embeddings.
    first_position : int
        Row of the first token; those before it are for padding.
    token_types : int
        Rows of the token-type embeddings; only the first is used.
    epsilon : float
        Added to the variance by every layer normalisation.
    """

    vocabulary: int
    positions: int
    width: int
    inner_width: int
    layers: int
    heads: int
    dropout: float
    attention_dropout: float
    first_position: int = 0
    token_types: int = 2
    epsilon: float = 1e-12

    @property
    def max_tokens(self) -> int:
        """Maximum number of tokens of a text, including the special ones."""
        return self.positions - self.first_position


@dataclass(frozen=True)
class Layout:
    """The names in one layout, as PyTorch writes them (`.` separates the levels).

    Attributes
    ----------
    title : str
        For messages.
    model_types : tuple of str
        Values of `model_type` in `config.json` that are stored in this layout.
    config_keys : mapping
        Keys of `config.json` by field of `EncoderShape`.
    activation_key : str
        Key of the activation in `config.json`.
    prefix : str
        First level of the encoder's names, which a model with a head has.
    layer : str
        Prefix of the names of layer `{}`.
    parts : mapping
        Names within a layer, by field of `polarity.families.onnx_transformer.Layer`.
    head, output : str
        The two layers of the classification head.
    head_activation : {'Relu', 'Tanh'}
        Activation between them.
    padding : int
        Id of the padding token unless `config.json` has another.
    leading_positions : bool
        Position embeddings begin with rows for padding: the first token is at the padding's id plus 1.
    special_ids_from_zero : bool
        Id 0 is the token that begins a text, so it cannot mark padding.
    model_class, config_class : str
        Names in `transformers`.
    """

    name: str
    title: str
    model_types: tuple[str, ...]
    config_keys: Mapping[str, str]
    activation_key: str
    prefix: str
    layer: str
    parts: Mapping[str, str]
    head: str
    output: str
    head_activation: Literal["Relu", "Tanh"]
    padding: int
    leading_positions: bool
    special_ids_from_zero: bool
    model_class: str
    config_class: str


_BERT_KEYS = {
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "width": "hidden_size",
    "inner_width": "intermediate_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}
_BERT_PARTS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attended": "attention.output.dense",
    "attended_norm": "attention.output.LayerNorm",
    "inner": "intermediate.dense",
    "outer": "output.dense",
    "outer_norm": "output.LayerNorm",
}

BERT = Layout(
    name="bert",
    title="a BERT",
    model_types=("bert",),
    config_keys=_BERT_KEYS,
    activation_key="hidden_act",
    prefix="bert",
    layer="encoder.layer.{}.",
    parts=_BERT_PARTS,
    head="pooler.dense",
    output="classifier",
    head_activation="Tanh",
    padding=0,
    leading_positions=False,
    special_ids_from_zero=False,
    model_class="TFBertForSequenceClassification",
    config_class="BertConfig",
)

DISTILBERT = Layout(
    name="distilbert",
    title="a DistilBERT",
    model_types=("distilbert",),
    config_keys={
        "vocabulary": "vocab_size",
        "positions": "max_position_embeddings",
        "width": "dim",
        "inner_width": "hidden_dim",
        "layers": "n_layers",
        "heads": "n_heads",
        "dropout": "dropout",
        "attention_dropout": "attention_dropout",
    },
    activation_key="activation",
    prefix="distilbert",
    layer="transformer.layer.{}.",
    parts={
        "query": "attention.q_lin",
        "key": "attention.k_lin",
        "value": "attention.v_lin",
        "attended": "attention.out_lin",
        "attended_norm": "sa_layer_norm",
        "inner": "ffn.lin1",
        "outer": "ffn.lin2",
        "outer_norm": "output_layer_norm",
    },
    head="pre_classifier",
    output="classifier",
    head_activation="Relu",
    padding=0,
    leading_positions=False,
    special_ids_from_zero=False,
    model_class="TFDistilBertForSequenceClassification",
    config_class="DistilBertConfig",
)

# Also XLM-RoBERTa's and CamemBERT's, whose weights have RoBERTa's names.
ROBERTA = Layout(
    name="roberta",
    title="a RoBERTa",
    model_types=("roberta", "xlm-roberta", "camembert"),
    config_keys=_BERT_KEYS,
    activation_key="hidden_act",
    prefix="roberta",
    layer="encoder.layer.{}.",
    parts=_BERT_PARTS,
    head="classifier.dense",
    output="classifier.out_proj",
    head_activation="Tanh",
    padding=1,
    leading_positions=True,
    special_ids_from_zero=True,
    model_class="TFRobertaForSequenceClassification",
    config_class="RobertaConfig",
)

LAYOUTS: Mapping[str, Layout] = {layout.name: layout for layout in (DISTILBERT, BERT, ROBERTA)}


def layout_of(model_type: object) -> Layout | None:
    """The layout in which models of this type are stored, or None."""
    return next((layout for layout in LAYOUTS.values() if model_type in layout.model_types), None)


def pytorch_name(variable: str) -> tuple[str, bool]:
    """The PyTorch name of a TensorFlow variable, from the encoder's or the head's level on.

    Parameters
    ----------
    variable : str
        E.g. `tf_bert_model/bert/encoder/layer_._0/output/dense/kernel:0`.

    Returns
    -------
    str
        E.g. `bert.encoder.layer.0.output.dense.weight`.
    bool
        Whether PyTorch has it transposed.

    Examples
    --------
    >>> pytorch_name("tf_bert_model/bert/encoder/layer_._0/output/dense/kernel:0")
    ('bert.encoder.layer.0.output.dense.weight', True)
    >>> pytorch_name("classifier/bias:0")
    ('classifier.bias', False)
    """
    levels = variable.partition(":")[0].split("/")
    prefixes = {layout.prefix for layout in LAYOUTS.values()}
    # HDF5 files have the names twice: `bert/tf_bert_model/bert/encoder/...`
    starts = [at for at, level in enumerate(levels) if level in prefixes]
    models = [at + 1 for at, level in enumerate(levels) if level.startswith("tf_")]
    start = max(starts or models, default=0)
    *path, leaf = levels[start:]
    name = ".".join([*path, _LEAVES.get(leaf, leaf)]).replace("layer_._", "layer.")
    return name, leaf == "kernel"
