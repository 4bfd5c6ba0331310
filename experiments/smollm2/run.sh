#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/../.."
make install
.venv/bin/copydesk models pull smollm2
resume=$([ -f experiments-out/smollm2/bench.json ] && echo --resume || true)
.venv/bin/copydesk bench paper --config experiments/smollm2/smollm2.toml --out experiments-out/smollm2 $resume
