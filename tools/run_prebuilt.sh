#!/usr/bin/env bash
# run_prebuilt.sh BUILD [REGEX]: the tests of `./dev build --bundle` without ctest, several at a time. Ends as ctest does, with a summary.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
if [[ $1 == --one ]]; then # BUILD TEST: one of them, with what it said when it failed
  build=$2 test=$3 name=$(basename "$3" .sh) began=$SECONDS
  command=("./$name")
  [[ $test == *.sh ]] && name=cli_$name command=(bash "$PWD/$test" "$PWD/$build/ingot")
  log=$(mktemp)
  if (cd "$build/tests" && "${command[@]}") >"$log" 2>&1; then
    printf '%-44s Passed %4d s\n' "$name" $((SECONDS - began))
  else
    printf '%-44s ***Failed %4d s\n%s\n' "$name" $((SECONDS - began)) "$(<"$log")"
  fi
  rm -f "$log"
  exit 0
fi
build=$1 regex=${2:-.} jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN)}
[[ -f $build/tests.txt ]] || { echo "dev: $build holds no bundle; run ./dev build --bundle first" >&2; exit 1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
{
  cat "$build/tests.txt"
  ls tests/cli/test_*.sh
} | while read -r test; do
  name=$(basename "$test")
  [[ $test == *.sh ]] && name=cli_${name%.sh}
  [[ ! $name =~ $regex ]] || echo "$test"
done | xargs -P "$jobs" -I{} bash tools/run_prebuilt.sh --one "$build" {} | tee "$log"
failed=$(grep -cE '^[a-z_0-9]+ +\*\*\*Failed ' "$log")
total=$(grep -cE '^[a-z_0-9]+ +(Passed|\*\*\*Failed) ' "$log")
((total)) || { echo "no test matches $regex"; exit 1; }
sed -nE 's/^([a-z_0-9]+) +\*\*\*Failed .*/failed: \1/p' "$log"
echo "$((100 * (total - failed) / total))% tests passed, $failed tests failed out of $total"
((failed == 0))
