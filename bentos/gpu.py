"""`python -m bentos.gpu PACKAGED`: build a Bento that runs a neural model on a GPU."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from polarity.bento import build as bento
from polarity.data.corpus import generate_tweets
from polarity.errors import PolarityError
from polarity.families.half_precision import add_half_precision
from polarity.inference.package import ModelManifest

NAME = "sentiment-gpu"
_GENERATED = 2_000


def main() -> None:
    """Add the half-precision graph if it passes, build the Bento, and print the next steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packaged", type=Path, help="folder of a neural model packaged in fp32 (quantise: false)")
    parser.add_argument(
        "--texts", type=Path, help="file of tweets to compare fp16 with fp32 on, one per line; default: generated"
    )
    options = parser.parse_args()
    labels = ModelManifest.read(options.packaged).labels
    if options.texts:
        texts = [line for line in options.texts.read_text(encoding="utf-8").splitlines() if line]
    else:
        texts = [row["text"] or "" for row in generate_tweets(rows=_GENERATED, labels=labels, seed=5).to_pylist()]
    with tempfile.TemporaryDirectory(prefix="polarity-half-") as folder:
        manifest = add_half_precision(options.packaged, Path(folder) / "model", texts)
        tag = bento.build(Path(folder) / "model", name=NAME, device="gpu")
    half = manifest.card["half"]
    verdict = "fp16" if half["kept"] else "fp32, because fp16 disagrees too often"
    print(
        f"{tag}: {verdict} (different label for {half['label_disagreement']:.2%} of {half['rows']} tweets)\n"
        f"  bentoml containerize {tag}\n"
        f"  docker run --gpus all -p 3000:3000 {tag}"
    )


if __name__ == "__main__":
    try:
        main()
    except PolarityError as error:
        sys.exit(str(error))
