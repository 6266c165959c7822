#!/bin/bash
# Run `python -m deploy` on a host that has Python 3.11 and Docker or podman: the package is copied there first.
#
#   deploy/over_ssh.sh HOST up IMAGE [OPTION ...]      HOST: as ssh knows it
set -euo pipefail
host=$1
shift
cd "$(dirname "$0")/.."
# shellcheck disable=SC2016  # the host's home, not this machine's
tar -c deploy/*.py | ssh -o BatchMode=yes "$host" 'mkdir -p "$HOME/.polarity-deploy/code" && tar -x -C "$HOME/.polarity-deploy/code"'
# shellcheck disable=SC2029  # quoted here, for the shell there
ssh -o BatchMode=yes "$host" "cd .polarity-deploy/code && python3 -m deploy$(printf ' %q' "$@")"
