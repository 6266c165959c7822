#!/bin/bash
# Run a command that uses ssh, with the key in SSH_KEY and the host's keys in SSH_KNOWN_HOSTS; neither outlives it.
#
#   deploy/with_ssh_key.sh COMMAND [ARGUMENT ...]
set -euo pipefail
: "${SSH_KEY:?is the private key}" "${SSH_KNOWN_HOSTS:?holds the lines of known_hosts}"
mkdir -p -m 700 ~/.ssh
printf '%s\n' "$SSH_KNOWN_HOSTS" >>~/.ssh/known_hosts
eval "$(ssh-agent -s)" >/dev/null
trap 'ssh-agent -k >/dev/null' EXIT
ssh-add -q - <<<"$SSH_KEY"
unset SSH_KEY
"$@"
