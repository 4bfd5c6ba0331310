#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/../.."
make install
mkdir -p experiments-out
finished=()
for run in table strength n; do
    if [ -f "experiments-out/$run/results.json" ]; then finished+=("experiments-out/$run"); fi
done
OMP_NUM_THREADS=1 .venv/bin/python experiments/diagnose/judge_advice.py "${finished[@]}" "$@" | tee experiments-out/diagnose.txt
