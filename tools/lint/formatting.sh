#!/usr/bin/env bash
# The tree is as `./dev format` leaves it.
cd "$(dirname "$0")/../.." || exit 1
git ls-files -- 'src/*.[ch]' 'include/*.h' 'tests/*.[ch]' 'examples/*.[ch]' | xargs clang-format --dry-run 2>&1 |
  grep -oE '^[^ :]+:[0-9]+' | awk -F: '!seen[$1]++ { print $1 ":" $2 ": not as ./dev format leaves it"; bad = 1 } END { exit bad }'
