#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/../.."
make install
for sweep in strength n; do
    resume=$([ -f "experiments-out/$sweep/bench.json" ] && echo --resume || true)
    columns=$([ $sweep = n ] && echo email/strong,email/weak-to-strong || echo email/strong)
    .venv/bin/copydesk bench paper --sweep $sweep --columns "$columns" --rounds 100 --selection unfixed --out "experiments-out/$sweep" $resume
done
