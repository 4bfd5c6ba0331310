#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/../.."
make install
out=experiments-out/personal
mkdir -p "$out"
[ -f "$out/rate.md" ] || { .venv/bin/python experiments/personal/personal.py rate > "$out/rate.part" && mv "$out/rate.part" "$out/rate.md"; }
cat "$out/rate.md"
for task in email summarization; do
  for seed in 0 1 2; do
    folder=$out/$task-$seed
    [ -f "$folder/results.json" ] || .venv/bin/copydesk demo --personal --task "$task" --seed "$seed" --out "$folder"
  done
  .venv/bin/python experiments/personal/personal.py table "$out/$task-0" "$out/$task-1" "$out/$task-2"
done
