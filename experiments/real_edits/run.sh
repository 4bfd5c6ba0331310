#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/../.."
make install
mkdir -p experiments-out
.venv/bin/copydesk models pull smollm2
# Wants lamp.jsonl and defacto.jsonl; without their folder the log is a simulated one.
data=${COPYDESK_EDITS:-../shared/data}
.venv/bin/python experiments/real_edits/train_smollm2.py $([ -d "$data" ] && echo --data "$data") "$@" | tee experiments-out/real_edits.txt
