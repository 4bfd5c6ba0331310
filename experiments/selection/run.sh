#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/../.."
make install
folder=experiments/selection
out=experiments-out/selection
OMP_NUM_THREADS=1 .venv/bin/python "$folder/train_grid.py" --out "$out" --seeds 100
.venv/bin/python "$folder/choose_settings.py" "$out" | tee "$out/tables.md"
