#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/../.."
make install
# Needs a GPU for the policy and the servers of the users' two models: see examples/paper.toml.
resume=$([ -f experiments-out/paper/bench.json ] && echo --resume || true)
.venv/bin/copydesk bench paper --config examples/paper.toml --out experiments-out/paper $resume
