#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/.."
make install
.venv/bin/copydesk models pull smollm2
mkdir -p runs-out
.venv/bin/copydesk serve --policy smollm2=smollm2 --store sqlite:///runs-out/llm_user.db --port 8043 &
trap 'kill $!' EXIT
until curl -sf http://127.0.0.1:8043/healthz > /dev/null; do sleep 1; done
rm -rf runs-out/llm_user
.venv/bin/copydesk bench paper --config runs/llm_user.toml --out runs-out/llm_user
.venv/bin/python runs/transcript.py runs-out/llm_user
