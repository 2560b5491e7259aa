#!/usr/bin/env bash
# sanitize_cuda.sh INGOT [TOOL...]: compute-sanitizer's memcheck, racecheck, initcheck and synccheck over the small samples of every op,
# in float32 and bfloat16; OPS="softmax matmul" are only those. Ops go in slices of SLICE, JOBS processes on the GPU at a time. Says
# what it could not run: no compute-sanitizer, no GPU.
set -uo pipefail
ingot=$(realpath "$1")
shift
tools=("$@")
((${#tools[@]})) || tools=(memcheck racecheck initcheck synccheck)
sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
[[ -x $sanitizer ]] || { echo 'NOT RUN: there is no compute-sanitizer here'; exit 0; }
line=$("$ingot" devices --quiet | grep '^cuda') || line='this build knows no cuda'
[[ $line == *'compute capability'* ]] || { echo "NOT RUN: compute-sanitizer: $line"; exit 0; }
processes=${JOBS:-4} # racecheck of attention takes gigabytes of the host each
slice=${SLICE:-12} # ops of one process
ops=${OPS:-$("$ingot" devices --kernels --device cuda --quiet | awk 'NR > 1 && /^[a-z]/ { print $1 }')}
[[ $ops ]] || { echo "FAILED: $ingot devices --kernels --device cuda lists no op"; exit 1; }
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
watch() { # TOOL DTYPE OPS: initcheck cannot see what bulk copies of a multiprocessor (TMA) write
  local name=$1-$2-${3%%,*} began=$SECONDS
  if "$sanitizer" --tool "$1" --error-exitcode 9 --print-limit 3 "$ingot" check --quiet --small --device cuda --dtype "$2" --ops "$3" \
    --kernel-cache none >"$logs/$name" 2>&1; then
    echo "$name: clean, $((SECONDS - began)) s" | tee -a "$logs/passed"
  else
    echo "FAILED: $1, $2, --ops $3"
    grep -E '^=========' "$logs/$name" | grep -v 'Host Frame' | head -"${LINES_OF_FAILURE:-24}"
    grep -E 'FAIL|^ingot:' "$logs/$name" | head -5
    echo "$name" >>"$logs/failed"
  fi
}
export -f watch
export sanitizer ingot logs
for tool in "${tools[@]}"; do
  for dtype in float32 bfloat16; do
    tr '\n' ' ' <<<"$ops" | xargs -n "$slice" | tr ' ' ',' | while read -r some; do echo "$tool $dtype $some"; done
  done
done | xargs -P "$processes" -L 1 bash -c 'watch "$@"' watch
touch "$logs/passed" "$logs/failed"
echo "compute-sanitizer ${tools[*]}: $(wc -w <<<"$ops") ops in 2 dtypes, $(wc -l <"$logs/passed") runs clean, $(wc -l <"$logs/failed") not, $SECONDS s"
[[ ! -s $logs/failed ]]
