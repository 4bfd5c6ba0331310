#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/../.."
make install
.venv/bin/copydesk models pull smollm2
mkdir -p experiments-out
.venv/bin/copydesk serve --policy smollm2=smollm2 --store sqlite:///experiments-out/llm_user.db --port 8043 &
trap 'kill $!' EXIT
until curl -sf http://127.0.0.1:8043/readyz > /dev/null; do sleep 1; done
rm -rf experiments-out/llm_user
.venv/bin/copydesk bench paper --config experiments/llm_user/llm_user.toml --out experiments-out/llm_user
.venv/bin/python experiments/llm_user/transcript.py experiments-out/llm_user
