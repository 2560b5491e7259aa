#!/usr/bin/env bash
# all.sh BUILD: every check of the house rules; says which rule and where.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
build=$1 failed=0
check() {
  local name=$1 out
  shift
  if out=$("$@" 2>&1); then
    echo "$name: ok"
  else
    failed=$((failed + 1))
    printf '%s: FAILED\n%s\n' "$name" "$out"
  fi
}
check "layers" tools/lint/layers.sh
check "symbols" tools/lint/symbols.sh "$build"
check "headers" tools/lint/headers.sh
check "words" tools/lint/words.sh
check "docs/cli.md" tools/lint/cli_page.sh "$build"
check "quotes" tools/lint/quotes.sh
check "formatting" tools/lint/formatting.sh
check "shell" shellcheck -s bash -S warning -x dev .ci/run tools/*.sh tools/lint/*.sh
check "shell of tests" shellcheck -s bash -S error tests/cli/*.sh tests/install/*.sh
if ((failed)); then
  echo "$failed checks failed"
  exit 1
fi
