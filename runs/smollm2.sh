#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/.."
make install
.venv/bin/copydesk models pull smollm2
resume=$([ -f runs-out/smollm2/bench.json ] && echo --resume || true)
.venv/bin/copydesk bench paper --config runs/smollm2.toml --out runs-out/smollm2 $resume
