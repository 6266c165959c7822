#!/bin/bash
# Build the image of a Bento with `bentoml containerize`, run it, and hold the HTTP contract's tests against it.
#
#   tests/container/run.sh [TAG]          TAG: sentiment:latest unless given
#
# Uses a Docker engine where one answers. Elsewhere it needs root and apt (Debian): podman builds and runs, and a base
# image made of Debian packages stands in for python:3.11-slim, so that no container registry is needed.
#
# CONTAINER_WORK       where podman's images and state are kept; a second run reuses the layers (.container)
# CONTAINER_BACKEND    docker or podman, instead of finding out
# CONTAINER_MEMORY     limit for the container (2g)
# MAX_IMAGE_MB, MAX_READY_S   what the image may weigh, and take until it is ready (700, 10)
set -euo pipefail
cd "$(dirname "$0")/../.."
tag=${1:-sentiment:latest}
work=$(realpath -m "${CONTAINER_WORK:-.container}")
image=localhost/polarity-under-test:latest
base=docker.io/library/python:3.11-slim # what the Bento's Dockerfile asks for
python=${PYTHON:-.venv/bin/python}
export BENTOML_DO_NOT_TRACK=True
mkdir -p "$work"

say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }
die() { echo "$*" >&2; exit 1; }

backend=${CONTAINER_BACKEND:-}
if [ -z "$backend" ]; then
  if docker info >/dev/null 2>&1; then backend=docker; else backend=podman; fi
fi

debian_packages() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || die "Without a Docker engine, root and apt are needed."
  apt-get update -qq
  # runc: the crun of Debian 12 does not run where cgroups are hybrid
  DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
    podman buildah runc netavark aardvark-dns iptables mmdebstrap >/dev/null 2>"$work/apt.log" || die "$(cat "$work/apt.log")"
}

# A container may raise no limit above its parent's unless it is privileged.
limit() {
  local hard
  hard=$(ulimit -H"$1")
  if [ "$hard" = unlimited ] || [ "$hard" -gt 16384 ]; then hard=16384; fi
  echo "$hard:$hard"
}

configure_podman() {
  cat >"$work/storage.conf" <<END
[storage]
driver = "overlay"
graphroot = "$work/storage"
runroot = "$work/run"
END
  cat >"$work/containers.conf" <<END
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
netns = "host"
log_driver = "k8s-file"
default_ulimits = ["nofile=$(limit n)", "nproc=$(limit u)"]
END
  export CONTAINERS_STORAGE_CONF=$work/storage.conf CONTAINERS_CONF=$work/containers.conf
}

debian_base() {
  # this machine's sources and certificates, so that packages can be fetched while the image is built
  local sources=/etc/apt/sources.list.d/debian.sources
  [ -f "$sources" ] || sources=/etc/apt/sources.list
  # shellcheck disable=SC2016
  mmdebstrap --quiet --variant=minbase --include=python3,python3-pip,ca-certificates \
    --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED' \
    --customize-hook='ln -sf python3 "$1/usr/bin/python"' \
    --customize-hook='cp /usr/local/share/ca-certificates/*.crt "$1/usr/local/share/ca-certificates/" 2>/dev/null || true' \
    --customize-hook='chroot "$1" update-ca-certificates >/dev/null 2>&1' \
    bookworm "$work/base.tar" "$sources"
  podman import --quiet --change 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' \
    --change 'CMD ["/bin/bash"]' "$work/base.tar" "$base" >/dev/null
  rm -f "$work/base.tar"
}

if [ "$backend" = podman ]; then
  for tool in podman runc mmdebstrap; do command -v "$tool" >/dev/null || { debian_packages; break; }; done
  configure_podman
  podman image exists "$base" || debian_base
fi
say "$backend is ready"

"$python" -m bentoml containerize "$tag" --backend "$backend" --image-tag "$image" >"$work/containerize.log" 2>&1 ||
  die "$(tail -40 "$work/containerize.log")"
megabytes=$(($("$backend" image inspect "$image" --format '{{.Size}}') / 1000000))
say "image of $tag: $megabytes MB"

port=$("$python" -c 'from polarity.bento.server import free_port; print(free_port())')
if [ "$backend" = docker ]; then published=(--publish "127.0.0.1:$port:$port"); else published=(); fi
clock() { date +%s%N; }
began=$(clock)
container=$("$backend" run --detach --memory "${CONTAINER_MEMORY:-2g}" "${published[@]}" "$image" \
  serve --host 0.0.0.0 --port "$port")
trap '"$backend" rm --force "$container" >/dev/null 2>&1 || true' EXIT
export BASE_URL=http://127.0.0.1:$port
until curl --noproxy '*' -fsS -m 5 -o /dev/null "$BASE_URL/readyz" 2>/dev/null; do
  [ "$("$backend" inspect "$container" --format '{{.State.Running}}')" = true ] && [ $((($(clock) - began) / 1000000000)) -lt 120 ] ||
    die "$("$backend" logs "$container" 2>&1 | tail -40)"
  sleep 0.1
done
ready_ms=$((($(clock) - began) / 1000000))
say "ready after $((ready_ms / 1000)).$(printf %03d $((ready_ms % 1000))) s"

failed=0
check() {
  local what=$1
  shift
  if "$@"; then say "passed: $what"; else failed=1; say "FAILED: $what"; fi
}
check "the contract" "$python" -m pytest -q -p no:cacheprovider tests/e2e/test_contract.py
check "at most ${MAX_IMAGE_MB:-700} MB" test "$megabytes" -le "${MAX_IMAGE_MB:-700}"
check "ready within ${MAX_READY_S:-10} s" test "$ready_ms" -le $((${MAX_READY_S:-10} * 1000))
check "runs as a user, not as root" test "$("$backend" exec "$container" id -u)" != 0
"$backend" stop --time 20 "$container" >/dev/null
check "stops by itself when asked to" test "$("$backend" inspect "$container" --format '{{.State.ExitCode}}')" = 0
exit $failed
