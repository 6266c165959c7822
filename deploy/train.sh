#!/bin/bash
# Train, and leave what was made in a folder: the champion's Bento as a file, and the run.
#
#   deploy/train.sh FOLDER [OPTION ...]      OPTION: of `python -m flows.train`
#
# FOLDER gets `sentiment.bento`, `run/` with the report and the summary, and `bento.txt` with the Bento's tag. A run that
# replaces no champion leaves the one there is.
set -euo pipefail
folder=$(realpath -m "$1")
shift
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH
mkdir -p "$folder"
# A variable of a workflow that has no value is empty.
for name in POLARITY_MLFLOW_URI POLARITY_MLFLOW_ARTIFACTS POLARITY_STORE; do
  if [ -z "${!name:-}" ]; then unset "$name"; fi
done
python -m ops.server
python -m flows.train "$@"
summary=$(find "${POLARITY_HOME:-.}/runs" -mindepth 2 -maxdepth 2 -name summary.json -printf '%T@ %p\n' | sort -n | tail -1)
rm -rf "$folder/run"
cp -r "$(dirname "${summary#* }")" "$folder/run"
python -c 'import bentoml; print(bentoml.bentos.get("sentiment:latest").tag)' >"$folder/bento.txt"
rm -f "$folder/sentiment.bento"
python -m bentoml export "$(cat "$folder/bento.txt")" "$folder/sentiment.bento"
