#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/../.."
make install
for sweep in strength n; do
    resume=$([ -f "experiments-out/$sweep/bench.json" ] && echo --resume || true)
    values=$([ $sweep = n ] && echo 50,150,450 || echo 0.05,0.35,0.65,0.95)
    .venv/bin/copydesk bench paper --sweep $sweep --values "$values" --columns email/strong --rounds 100 --out "experiments-out/$sweep" $resume
done
