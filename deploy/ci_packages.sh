#!/bin/bash
# Install what tests use if it is there, and skip without: PostgreSQL and nginx. Needs root and apt.
set -euo pipefail
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends postgresql nginx-light curl >/dev/null
systemctl disable --now postgresql nginx 2>/dev/null || true # tests start their own
