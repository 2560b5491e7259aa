#!/usr/bin/env bash
# fuzz.sh BUILD SECONDS [TARGET...]: each target with the committed corpus, one on each core at a time; new inputs are kept
# under BUILD/corpus/TARGET, findings under BUILD/findings. Repeat one with: BUILD/tests/TARGET FILE
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
build=$1 seconds=$2
shift 2
mkdir -p "$build/findings"

fuzz_one() { # PROGRAM: one line when it ends; the log's own when it fails
  local program=$1 name folders options=() log
  name=$(basename "$program")
  folders=("$build/corpus/$name")
  mkdir -p "${folders[0]}"
  [[ -d tests/fuzz/corpus/$name ]] && folders+=("tests/fuzz/corpus/$name")
  [[ -f tests/fuzz/$name.dict ]] && options=(-dict="tests/fuzz/$name.dict")
  log=$build/findings/$name.log
  if ASAN_OPTIONS=allocator_may_return_null=1 "$program" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
    -artifact_prefix="$build/findings/$name-" ${options[@]+"${options[@]}"} "${folders[@]}" >"$log" 2>&1; then
    echo "$name: ok, $(grep -oE 'Done [0-9]+ runs' "$log" | tail -1)"
  else
    echo "$name: FAILED"
    grep -vE '^#[0-9]+\s+(NEW|REDUCE|pulse|INITED|RELOAD)' "$log" | tail -40
    return 1
  fi
}

cores=$(nproc) passed=0 failed=0 running=0
ended() { if wait -n; then passed=$((passed + 1)); else failed=$((failed + 1)); fi; }
for program in "$build"/tests/fuzz_*; do
  [[ -f $program && -x $program ]] || continue
  (($# == 0)) || [[ " $* " == *" $(basename "$program") "* ]] || continue
  ((running < cores)) || { ended; running=$((running - 1)); }
  fuzz_one "$program" &
  running=$((running + 1))
done
while ((running > 0)); do
  ended
  running=$((running - 1))
done
echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))
