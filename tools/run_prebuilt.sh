#!/usr/bin/env bash
# run_prebuilt.sh BUILD [REGEX [DEVICE]]: the tests of `./dev build --bundle` without ctest, and a check of DEVICE. Ends as ctest does, with a summary.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
build=$1 regex=${2:-.} device=${3:-}
[[ -f $build/tests.txt ]] || { echo "dev: $build holds no bundle; run ./dev build --bundle first" >&2; exit 1; }
passed=0 failed=()
program=$PWD/$build/ingot log=$(mktemp)
run() { # NAME FOLDER COMMAND...
  local name=$1 folder=$2 began=$SECONDS
  shift 2
  [[ $name =~ $regex ]] || return
  if (cd "$folder" && "$@") >"$log" 2>&1; then
    passed=$((passed + 1))
    printf '%-44s Passed %4d s\n' "$name" $((SECONDS - began))
  else
    failed+=("$name")
    printf '%-44s ***Failed %4d s\n' "$name" $((SECONDS - began))
    cat "$log"
  fi
}
while read -r test; do run "$(basename "$test")" "$build/tests" "./$(basename "$test")"; done <"$build/tests.txt"
for script in tests/cli/test_*.sh; do
  [[ -f $script ]] && run "cli_$(basename "$script" .sh)" "$build/tests" bash "$PWD/$script" "$program"
done
[[ -z $device ]] || { regex=. && run "check of $device" "$build" ./ingot check --device "$device"; }
rm -f "$log"
total=$((passed + ${#failed[@]}))
((total)) || { echo "no test matches $regex"; exit 1; }
((${#failed[@]} == 0)) || printf 'failed: %s\n' "${failed[@]}"
echo "$((100 * passed / total))% tests passed, ${#failed[@]} tests failed out of $total"
((${#failed[@]} == 0))
