#!/usr/bin/env bash
# Everything that needs a GPU, in ten minutes on one H200: checks, tests, and the targets of docs/performance.md on
# LLaVA-OneVision 7B with random weights in bf16. Each part has its own time limit; what is left goes to the long stream.
#
#   OUT=results benchmarks/gpu.sh          results to $OUT (default: out/gpu)
#   OUT=results benchmarks/gpu.sh --toy    a rehearsal on a CPU with the tiny model: every command, a minute or two
#
# Then: cp $OUT/performance-gpu-*.json benchmarks/results && python benchmarks/performance_page.py
set -uo pipefail
cd "$(dirname "$0")/.."
command -v hermes-stream >/dev/null || PATH=$PWD/.venv/bin:$PATH

all_seconds=590
WORK=${OUT:-out/gpu} RESULTS=${OUT:-out/gpu}
if [[ ${1:-} == --toy ]]; then
  model=(--model tiny-llava-onevision --device cpu) budget=64 chunk=4 half=4 patience=5
  frames=8,32 window=16 timed=8 sessions=1,2 live=(--seconds 1 --fps 2) long=8,64 tests=(--collect-only)
else
  model=(--model random:llava-onevision-7b --dtype bfloat16 --device cuda) budget=6000 chunk=16 half=8
  frames=64,512 window=64 timed=256 sessions=16,64 live=(--seconds 15) long=64,36000 tests=()
fi
mkdir -p "$WORK" "$RESULTS"
. benchmarks/parts.sh

part doctor 60 hermes-stream doctor "${model[@]}"
part tests 120 python -m pytest -m gpu tests/gpu "${tests[@]}"
measure gpu-ingest 90 ingest "${model[@]}" --memory hermes --budget $budget --chunk $chunk --frames $timed
measure gpu-frames-floor 60 floor "${model[@]}" --results "$RESULTS/performance-gpu-ingest.json"
measure gpu-latency 90 latency "${model[@]}" --memory hermes,sliding-window,keep-all --budget $budget --chunk $chunk \
  --frames $frames --questions 20 --answer-tokens 16
measure gpu-floor 60 floor "${model[@]}" --results "$RESULTS/performance-gpu-latency.json"
measure gpu-streams 150 streams "${model[@]}" --budget $budget --chunk $half --sessions $sessions --rounds 1 "${live[@]}"
measure gpu-peers 90 peers "${model[@]}" --frames $window --budget $budget --questions 5
left=$((all_seconds - SECONDS))
measure gpu-growth $((left > 30 ? left : 30)) latency "${model[@]}" --memory hermes --budget $budget --chunk $chunk \
  --frames $long --questions 20
finish
