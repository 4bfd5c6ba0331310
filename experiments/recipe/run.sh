#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/../.."
make install
OMP_NUM_THREADS=1 .venv/bin/python experiments/recipe/choose_recipe.py --out experiments-out/recipe "$@"
