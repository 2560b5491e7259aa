#!/usr/bin/env bash
# fuzz.sh BUILD SECONDS [TARGET...]: each target with the committed corpus, new inputs kept under BUILD/corpus/TARGET,
# findings under BUILD/findings. Repeat one with: BUILD/tests/TARGET FILE
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
build=$1 seconds=$2
shift 2
mkdir -p "$build/findings"
passed=0 failed=0
for program in "$build"/tests/fuzz_*; do
  [[ -f $program && -x $program ]] || continue
  name=$(basename "$program")
  (($# == 0)) || [[ " $* " == *" $name "* ]] || continue
  mkdir -p "$build/corpus/$name"
  folders=("$build/corpus/$name")
  [[ -d tests/fuzz/corpus/$name ]] && folders+=("tests/fuzz/corpus/$name")
  options=()
  [[ -f tests/fuzz/$name.dict ]] && options=(-dict="tests/fuzz/$name.dict")
  log=$build/findings/$name.log
  if ASAN_OPTIONS=allocator_may_return_null=1 "$program" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
    -artifact_prefix="$build/findings/$name-" ${options[@]+"${options[@]}"} "${folders[@]}" >"$log" 2>&1; then
    passed=$((passed + 1))
    echo "$name: ok, $(grep -oE 'Done [0-9]+ runs' "$log" | tail -1)"
  else
    failed=$((failed + 1))
    echo "$name: FAILED"
    grep -vE '^#[0-9]+\s+(NEW|REDUCE|pulse|INITED|RELOAD)' "$log" | tail -40
  fi
done
echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))
