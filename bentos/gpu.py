"""`python -m bentos.gpu PACKAGED`: build a Bento that runs a neural model on a GPU."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import msgspec

from polarity.bento import build as bento
from polarity.bento.dossier import for_another_image
from polarity.bento.provenance import Provenance, write_provenance
from polarity.data.corpus import generate_tweets
from polarity.errors import PolarityError
from polarity.families.half_precision import add_half_precision
from polarity.inference.package import DOSSIER, DRIFT_REFERENCE, ModelManifest

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
    _carry_over(options.packaged, tag, manifest)
    verdict = "fp16" if half["kept"] else "fp32, because fp16 disagrees too often"
    print(
        f"{tag}: {verdict} (different label for {half['label_disagreement']:.2%} of {half['rows']} tweets)\n"
        f"  bentoml containerize {tag}\n"
        f"  docker run --gpus all -p 3000:3000 {tag}"
    )


def _carry_over(packaged: Path, tag: str, manifest: ModelManifest) -> None:
    """Give the Bento the papers of the one that the package is from, with what is different made true."""
    papers, reference = packaged / DOSSIER, packaged / DRIFT_REFERENCE
    if not papers.is_file():
        return
    half = manifest.card["half"]
    compared = f"for {half['label_disagreement']:.2%} of {half['rows']:,} tweets"
    if half["kept"]:
        precision = "fp16 on a GPU, fp32 on a CPU"
        limit = f"All figures are of full precision; half precision, on a GPU, gave a different label {compared}."
    else:
        precision = "fp32"
        limit = f"It runs in full precision, because half precision gave a different label {compared}."
    dossier = for_another_image(
        msgspec.json.decode(papers.read_bytes()), manifest, lock=bento.GPU_LOCK, precision=precision, limit=limit
    )
    write_provenance(
        tag,
        Provenance(
            data_digest=manifest.data_digest,
            git_commit=manifest.git_commit or "",
            dossier=dossier,
            drift_reference=reference.read_bytes() if reference.is_file() else b"",
        ),
    )


if __name__ == "__main__":
    try:
        main()
    except PolarityError as error:
        sys.exit(str(error))
