#!/usr/bin/env bash
# test_device.sh INGOT DEVICE: every op on a device against the oracle in all float dtypes, small models, and the main job beside the
# CPU (tests/cli/on_device.sh). Where the device is not, that is said, and nothing fails: machines that build have no GPU.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
ingot=$1 device=$2
if ! line=$("$ingot" devices --quiet | grep "^$device "); then
  "$ingot" check --device "$device" --ops add # says which devices there are
  exit 1
fi
if [[ $line == *': not here: '* ]]; then
  echo "NOT RUN: the tests of device $device: ${line#*: not here: }"
  exit 0
fi
echo "$line"
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
began=$SECONDS
run() { # NAME COMMAND...
  local name=$1
  shift
  if "$@" >"$logs/$name" 2>&1; then echo "passed: $name, $(tail -n 1 "$logs/$name")"; else
    echo "FAILED: $name"
    grep -E 'FAIL|^    |^ingot:|not ' "$logs/$name" | head -40
    touch "$logs/failed"
  fi
}
for dtype in float32 bfloat16 float16; do run "check-$dtype" "$ingot" check --quiet --device "$device" --dtype "$dtype" & done
run main-job bash tests/cli/on_device.sh "$ingot" "$device" &
wait
tests=$(dirname "$ingot")/tests/test_device # by itself: it looks at the device's own count of memory
libraries=$(cd "$(dirname "$ingot")" && pwd)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} # where the device's module lies
if [[ -x $tests ]]; then run runtime env LD_LIBRARY_PATH="$libraries" INGOT_TEST_DEVICE="$device" "$tests"; else echo "NOT RUN: runtime ($tests is not built)"; fi
echo "$device: $((SECONDS - began)) s"
[[ ! -e $logs/failed ]]
