#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/.."
make install
resume=$([ -f runs-out/table/bench.json ] && echo --resume || true)
.venv/bin/copydesk bench paper --shift --out runs-out/table $resume
