#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/../.."
make install
resume=$([ -f experiments-out/table/bench.json ] && echo --resume || true)
.venv/bin/copydesk bench paper --shift --out experiments-out/table $resume
