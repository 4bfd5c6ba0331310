#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/../.."
make install
mkdir -p experiments-out
.venv/bin/copydesk theory --out experiments-out/theory.html --force
