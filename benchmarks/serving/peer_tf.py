"""The usual alternative for a transformer: FastAPI, calling a `tf.function` once per request.

The network has the dimensions of the packaged model in the folder PEER_MODEL. Its weights are random, which does not
affect its speed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import onnx
import tensorflow as tf
from fastapi import FastAPI
from pydantic import BaseModel
from tokenizers import Tokenizer
from transformers import DistilBertConfig, TFDistilBertForSequenceClassification

from polarity.families.encoders import TOKENIZER
from polarity.inference.package import ModelManifest
from polarity.inference.scorers import GRAPH

folder = Path(os.environ["PEER_MODEL"])
labels = ModelManifest.read(folder).labels
graph = onnx.load(folder / GRAPH).graph
shapes = {constant.name: tuple(constant.dims) for constant in graph.initializer}
layers = {
    int(found[1]): shape for name, shape in shapes.items() if (found := re.match(r"layer(\d+)\.inner\.bias$", name))
}
words = next(shape for name, shape in shapes.items() if name.startswith("words"))
heads = next(attribute.i for node in graph.node for attribute in node.attribute if attribute.name == "num_heads")
network = TFDistilBertForSequenceClassification(  # type: ignore[no-untyped-call]
    DistilBertConfig(  # type: ignore[no-untyped-call]
        vocab_size=words[0],
        dim=words[1],
        n_layers=len(layers),
        n_heads=heads,
        hidden_dim=layers[0][0],
        num_labels=len(labels),
    )
)
tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
app = FastAPI()


@tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)])  # type: ignore[untyped-decorator]
def probabilities_of(ids: tf.Tensor) -> tf.Tensor:
    """Return the class probabilities of unpadded texts."""
    return tf.nn.softmax(network(input_ids=ids, attention_mask=tf.ones_like(ids)).logits)


probabilities_of(tf.constant([tokenizer.encode("warm up").ids]))


class Tweet(BaseModel):
    text: str


@app.post("/predict")
def predict(tweet: Tweet) -> dict[str, object]:
    """Return the sentiment of one text."""
    row = probabilities_of(tf.constant([tokenizer.encode(tweet.text).ids]))[0].numpy().tolist()
    probabilities = dict(zip(labels, row, strict=True))
    sentiment = max(probabilities, key=probabilities.__getitem__)
    return {"sentiment": sentiment, "score": probabilities[sentiment], "probabilities": probabilities}
