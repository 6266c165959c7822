#!/bin/bash
# Build the image of a Bento with `bentoml containerize`, and push it if asked to.
#
#   deploy/build_image.sh BENTO IMAGE [--push]      BENTO: a tag, or a file that `bentoml export` wrote
#
# The last lines of the output are `bento=TAG` and `image=NAME`, with the digest if it was pushed.
# PYTHON               interpreter with BentoML (.venv/bin/python)
# CONTAINER_BACKEND    docker or podman (docker)
# POLARITY_VERIFY_KEY  if set, a Bento that is not signed with its private key is refused
set -euo pipefail
bento=$1 image=$2 push=${3:-}
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python} backend=${CONTAINER_BACKEND:-docker}
export BENTOML_DO_NOT_TRACK=True
if [ -f "$bento" ]; then
  bento=$("$python" -c 'import sys, bentoml; print(bentoml.bentos.import_bento(sys.argv[1]).tag)' "$bento")
else
  bento=$("$python" -c 'import sys, bentoml; print(bentoml.bentos.get(sys.argv[1]).tag)' "$bento")
fi
if [ -n "${POLARITY_VERIFY_KEY:-}" ]; then "$python" -m polarity verify "$bento" >&2; fi
"$python" -m bentoml containerize "$bento" --backend "$backend" --image-tag "$image" >&2
if [ "$push" = --push ]; then
  "$backend" push "$image" >&2
  image=$("$backend" image inspect --format '{{index .RepoDigests 0}}' "$image")
fi
echo "bento=$bento"
echo "image=$image"
