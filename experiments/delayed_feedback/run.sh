#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/../.."
make install
mkdir -p experiments-out
OMP_NUM_THREADS=1 .venv/bin/python experiments/delayed_feedback/delayed_feedback.py "$@" | tee experiments-out/delayed_feedback.txt
