#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/.."
make install
mkdir -p runs-out
finished=()
for run in table strength n; do
    if [ -f "runs-out/$run/results.json" ]; then finished+=("runs-out/$run"); fi
done
OMP_NUM_THREADS=1 .venv/bin/python benchmarks/diagnose.py "${finished[@]}" | tee runs-out/diagnose.txt
