#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/.."
make install
for sweep in strength n; do
    resume=$([ -f "runs-out/$sweep/bench.json" ] && echo --resume || true)
    values=$([ $sweep = n ] && echo 50,150,450,1000 || echo 0.05,0.25,0.5,0.75,0.95)
    .venv/bin/copydesk bench paper --sweep $sweep --values "$values" --columns email/strong --out "runs-out/$sweep" $resume
done
