#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/../.."
make install
out=experiments-out/harder
resume=$([ -f "$out/bench.json" ] && echo --resume || true)
.venv/bin/copydesk bench paper --columns summarization/strong,email/strong --harder --selection unfixed --out "$out" $resume
.venv/bin/python experiments/table/print_tables.py "$out" > "$out/tables.md"
