#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/../.."
make install
for selection in log-loss unfixed; do
    out=experiments-out/table-$selection
    resume=$([ -f "$out/bench.json" ] && echo --resume || true)
    .venv/bin/copydesk bench paper --selection "$selection" --out "$out" $resume
    .venv/bin/python experiments/table/print_tables.py "$out" > "$out/tables.md"
    .venv/bin/python experiments/table/draw_picture.py "$out" --out "$out/tables.png"
done
