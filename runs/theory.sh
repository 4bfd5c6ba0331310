#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/.."
make install
mkdir -p runs-out
.venv/bin/copydesk theory --out runs-out/theory.html --force
