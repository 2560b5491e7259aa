#!/usr/bin/env bash
# Each public header stands alone, as C17 and as C++17, opens with an example, and is short enough to read.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
bad=0
for header in include/ingot/*.h; do
  for how in "cc -std=c17 -x c" "c++ -std=c++17 -x c++"; do
    $how -fsyntax-only -Wall -Wextra -Wpedantic -Werror -Iinclude "$header" || bad=1
  done
  head -40 "$header" | grep -qE '^ \*     [^ ].*;' || { echo "$header: does not open with an example"; bad=1; }
  lines=$(wc -l <"$header")
  ((lines <= 250)) || { echo "$header: $lines lines; at most 250"; bad=1; }
done
exit $bad
