#!/bin/bash
# Sign a copy of a Bento, build its image with `bentoml containerize`, run it, and hold the HTTP contract's tests against
# it; then as some other user on a read-only root file system, and with a changed byte; then the same with the page's
# image, which asks it; then deploy the image with `python -m deploy`, under clients that keep asking.
#
#   tests/container/run.sh [TAG]          TAG: sentiment:latest unless given
#
# Uses a Docker engine where one answers. Elsewhere it needs root and apt (Debian): podman builds and runs, and a base
# image made of Debian packages stands in for python:3.11-slim, so that no container registry is needed.
#
# CONTAINER_WORK       where podman's images and state are kept; a second run reuses the layers (.container)
# CONTAINER_BACKEND    docker or podman, instead of finding out
# CONTAINER_MEMORY     limit for the container (2g)
# MAX_PAGE_MB          what the page's image may weigh (700)
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

# The copy is in a store of its own, because the Bento may be signed with the team's key, or with none.
signed_image() {
  rm -rf "$work/bentoml" "$work/copy.bento"
  "$python" -m bentoml export "$tag" "$work/copy.bento"
  export BENTOML_HOME=$work/bentoml
  "$python" -m bentoml import "$work/copy.bento"
  local copy
  copy=$("$python" -c 'import bentoml; print(bentoml.bentos.list()[0].tag)')
  openssl ecparam -name prime256v1 -genkey -noout -out "$work/signing.pem"
  openssl ec -in "$work/signing.pem" -pubout -out "$work/verify.pem"
  POLARITY_SIGNING_KEY=$work/signing.pem "$python" -m polarity sign "$copy"
  PYTHON=$python CONTAINER_BACKEND=$backend POLARITY_VERIFY_KEY=$work/verify.pem deploy/build_image.sh "$copy" "$image"
}
(set -e; signed_image) >"$work/containerize.log" 2>&1 || die "$(tail -40 "$work/containerize.log")"
key=(--env POLARITY_VERIFY_KEY="$(cat "$work/verify.pem")")
megabytes=$(($("$backend" image inspect "$image" --format '{{.Size}}') / 1000000))
say "image of $tag: $megabytes MB"

port=$("$python" -c 'from polarity.bento.server import free_port; print(free_port())')
if [ "$backend" = docker ]; then published=(--publish "127.0.0.1:$port:$port"); else published=(); fi
clock() { date +%s%N; }
volume=polarity-under-test
container="" page=""
cleanup() {
  local one
  for one in "$container" "$page"; do
    if [ -n "$one" ]; then "$backend" rm --force "$one" >/dev/null 2>&1 || true; fi
  done
  "$backend" volume rm --force "$volume" >/dev/null 2>&1 || true
}
trap cleanup EXIT
export BASE_URL=http://127.0.0.1:$port

# run OPTION... -- ARGUMENT...: start the image with them and wait until it is ready
run() {
  local options=()
  while [ "$1" != -- ]; do options+=("$1"); shift; done
  shift
  began=$(clock)
  # The proxy of a container's network is the only one that asks; on the host's network it is the loopback interface.
  container=$("$backend" run --detach --memory "${CONTAINER_MEMORY:-2g}" --env FORWARDED_ALLOW_IPS='*' \
    "${key[@]}" "${published[@]}" "${options[@]}" "$image" "$@")
  until curl --noproxy '*' -fsS -m 5 -o /dev/null "$BASE_URL/readyz" 2>/dev/null; do
    [ "$("$backend" inspect "$container" --format '{{.State.Running}}')" = true ] && [ $((($(clock) - began) / 1000000000)) -lt 120 ] ||
      die "$("$backend" logs "$container" 2>&1 | tail -40)"
    sleep 0.1
  done
  ready_ms=$((($(clock) - began) / 1000000))
}

run -- serve --host 0.0.0.0 --port "$port"
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

# The page's image, beside the service's.
page_image=localhost/polarity-page-under-test:latest
"$backend" build --tag "$page_image" --file page/Containerfile page >"$work/page.log" 2>&1 || die "$(tail -40 "$work/page.log")"
page_megabytes=$(($("$backend" image inspect "$page_image" --format '{{.Size}}') / 1000000))
say "image of the page: $page_megabytes MB"
page_port=$("$python" -c 'from polarity.bento.server import free_port; print(free_port())')
export PAGE_URL=http://127.0.0.1:$page_port
page=$("$backend" run --detach --network host --memory 1g --env POLARITY_URL="$BASE_URL" --env POLARITY_PAGE_URL="$PAGE_URL" \
  "$page_image")
until curl --noproxy '*' -fsS -m 5 -o /dev/null "$PAGE_URL/_stcore/health" 2>/dev/null; do
  [ "$("$backend" inspect "$page" --format '{{.State.Running}}')" = true ] || die "$("$backend" logs "$page" 2>&1 | tail -40)"
  sleep 0.1
done
check "the page asks the service" "$python" -m pytest -q -p no:cacheprovider tests/e2e/test_page.py -k french
check "the page's image has at most ${MAX_PAGE_MB:-700} MB" test "$page_megabytes" -le "${MAX_PAGE_MB:-700}"
check "the page runs as a user, not as root" test "$("$backend" exec "$page" id -u)" != 0
"$backend" stop --time 20 "$page" >/dev/null
check "the page stops by itself when asked to" test "$("$backend" inspect "$page" --format '{{.State.ExitCode}}')" = 0

stop() {
  "$backend" stop --time 20 "$container" >/dev/null
  check "$1" test "$("$backend" inspect "$container" --format '{{.State.ExitCode}}')" = 0
  "$backend" rm "$container" >/dev/null
}
stop "stops by itself when asked to"

# Nothing but the volume and the container's own memory can be written.
strict=(--read-only --cap-drop all --security-opt no-new-privileges --volume "$volume:/data")
if [ "$backend" = podman ]; then strict+=(--read-only-tmpfs=false); fi
user=$((10000 + RANDOM))
run --user "$user:$user" "${strict[@]}" --env PORT="$port" --env POLARITY_GRACE_S=2 --
say "user $user, read-only root: ready after $((ready_ms / 1000)).$(printf %03d $((ready_ms % 1000))) s"
check "the contract, as user $user on a read-only root" "$python" -m pytest -q -p no:cacheprovider tests/e2e/test_contract.py
check "runs as user $user" test "$("$backend" exec "$container" id -u)" = "$user"
check "the root file system is read-only" test -n "$("$backend" exec "$container" sh -c 'touch /home/bentoml/x /tmp/x' 2>&1)"
check "the record is on the volume" "$backend" exec "$container" test -s /data/predictions.db
while echo '{"text": "a stream that does not end"}'; do sleep 1; done 2>/dev/null |
  curl --noproxy '*' -sS -N -T - -X POST -o /dev/null "$BASE_URL/predict/stream" 2>/dev/null &
sleep 2
stop "stops within its grace period, although a stream is open"

# refused_for FILE: the image does not start if the last byte of this file of the Bento is another, and it says which file
refused_for() {
  local inside=/home/bentoml/bento/$1 output
  "$backend" run --rm --entrypoint cat "$image" "$inside" >"$work/changed" || return 1
  printf ' ' | dd of="$work/changed" bs=1 seek=$(($(stat -c %s "$work/changed") - 1)) conv=notrunc status=none
  output=$(timeout 60 "$backend" run --rm "${key[@]}" --volume "$work/changed:$inside:ro" "$image" \
    serve --host 127.0.0.1 --port "$port" 2>&1) && return 1
  grep -qF "(changed: $1)" <<<"$output" || { echo "$output"; return 1; }
}
for file in bento.yaml src/bentos/door.py src/model/model.json; do
  check "a changed byte of $file stops the start" refused_for "$file"
done

front=docker.io/library/haproxy:3.2
if [ "$backend" = podman ] && ! podman image exists "$front"; then
  podman build --quiet --tag "$front" - >"$work/front.log" 2>&1 <<END || die "$(tail -40 "$work/front.log")"
FROM $base
RUN apt-get update -qq && apt-get install -qq --no-install-recommends haproxy && rm -rf /var/lib/apt/lists/*
ENTRYPOINT ["haproxy"]
END
fi
check "deployments, failed ones and a rollback" env CONTAINER_IMAGE="$image" CONTAINER_BACKEND="$backend" \
  "$python" -m pytest -q -p no:cacheprovider tests/container/test_deploy.py
exit $failed
