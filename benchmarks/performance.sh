#!/usr/bin/env bash
# Everything in docs/performance.md that a CPU can measure, in order; then the page itself. On a quiet machine: the
# ratios are of one run each, but what else runs still shows.
#
#   benchmarks/performance.sh          about 25 minutes on two cores; results to benchmarks/results, page to docs
#   benchmarks/performance.sh --toy    a rehearsal: the same commands, all on the tiny model; everything to out/toy
set -uo pipefail
cd "$(dirname "$0")/.."
command -v hermes-stream >/dev/null || PATH=$PWD/.venv/bin:$PATH

tiny=tiny-llava-onevision
if [[ ${1:-} == --toy ]]; then
  WORK=out/toy RESULTS=out/toy page=out/toy/performance.md
  small=$tiny small_budget=64 chunk=4 patience=5
  long=64,128 short=16,32 questions=2 sessions=1,2 live=(--seconds 1 --rounds 1 --fps 2 --ttft-bound-ms 0.001)
  window=16 timed=8
else
  WORK=out/performance RESULTS=benchmarks/results page=docs/performance.md
  small=random:llava-onevision-0.5b small_budget=4096 chunk=16
  long=64,512,4096,36000 short=64,512 questions=60 sessions=1,4,16,32 live=(--seconds 10)
  window=64 timed=16
fi
mkdir -p "$WORK" "$RESULTS"
. benchmarks/parts.sh

every_policy=$(python -c 'from hermes_stream.policies import POLICIES; print(",".join(POLICIES))')

measure tiny-latency 900 latency --model $tiny --memory hermes,sliding-window,keep-all --chunk $chunk --frames $long \
  --questions "$questions"
measure tiny-policies 420 latency --model $tiny --memory "$every_policy" --chunk $chunk --frames $short --questions 5 \
  --answer-tokens 4
measure tiny-streams 420 streams --model $tiny --sessions $sessions "${live[@]}" --search
measure tiny-ingest 120 ingest --model $tiny --memory hermes,sliding-window,recent-frames --chunk $chunk --frames $timed
measure tiny-floor 120 floor --model $tiny --results "$RESULTS/performance-tiny-latency.json"
measure 0.5b-ingest 600 ingest --model $small --memory hermes,sliding-window --budget $small_budget --chunk $chunk \
  --frames $timed
measure 0.5b-latency 420 latency --model $small --memory hermes --budget $small_budget --chunk $chunk --frames $window \
  --questions 5
measure 0.5b-floor 120 floor --model $small --results "$RESULTS/performance-0.5b-latency.json"
measure 0.5b-frames-floor 120 floor --model $small --results "$RESULTS/performance-0.5b-ingest.json"
measure 0.5b-peers 900 peers --model $small --frames $window --budget $small_budget --questions 5
part page 60 python benchmarks/performance_page.py --results "$RESULTS" --out "$page"
finish
