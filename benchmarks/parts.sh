# What performance.sh and gpu.sh share. Each part has a time limit of its own, and one that fails leaves the others.
# WORK: a folder for logs and for what a part writes; RESULTS: where performance-NAME.json goes. patience: limits are
# multiplied by it.

failed=()
patience=${patience:-1}

# part NAME SECONDS COMMAND...: run a command, with what it says in WORK/NAME.log.
part() {
  local name=$1 limit=$2 start=$SECONDS status=0
  shift 2
  timeout $((patience * limit)) "$@" >"$WORK/$name.log" 2>&1 || status=$?
  if ((status)); then
    failed+=("$name")
    echo "$name: failed with status $status after $((SECONDS - start)) s; $WORK/$name.log ends with"
    tail -n 3 "$WORK/$name.log" | sed 's/^/    /'
  else
    echo "$name: $((SECONDS - start)) s"
  fi
}

# measure NAME SECONDS SUBCOMMAND OPTIONS...: hermes-stream bench SUBCOMMAND, its file kept as performance-NAME.json.
measure() {
  local name=$1 limit=$2 subcommand=$3
  shift 3
  part "$name" "$limit" hermes-stream bench "$subcommand" "$@" --out "$WORK/$name"
  if [[ -f $WORK/$name/$subcommand.json ]]; then
    cp "$WORK/$name/$subcommand.json" "$RESULTS/performance-$name.json"
  fi
}

# finish: say what failed, and fail with it.
finish() {
  echo "results: $RESULTS, logs: $WORK, $SECONDS s in all"
  if ((${#failed[@]})); then
    echo "failed: ${failed[*]}"
    exit 1
  fi
}
