#!/usr/bin/env bash
# A room includes only rooms above it in docs/architecture.md's list, itself, and public headers.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
rooms=(base formats text data graph kit ops passes plan device engine nn models infer train check plot bench server cli)
find src include \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.m' -o -name '*.metal' \) -print0 |
  xargs -0 grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]+"' |
  awk -v rooms="${rooms[*]}" '
    BEGIN { n = split(rooms, list, " "); for (i = 1; i <= n; i++) order[list[i]] = i }
    {
      split($0, at, ":"); file = at[1]; line = at[2]
      included = $0; sub(/^[^"]*"/, "", included); sub(/".*/, "", included)
      m = split(file, path, "/"); room = path[2]
      if (path[1] == "include") {
        if (included !~ /^ingot\//) { print file ":" line ": a public header includes " included; bad = 1 }
        next
      }
      k = split(included, to, "/"); target = to[1]
      if (k == 1 || target == "ingot") next
      if (!(room in order)) { print file ": room " room " is not in the list"; bad = 1; next }
      if (!(target in order)) { print file ":" line ": " included " names no room"; bad = 1; next }
      if (order[target] > order[room]) { print file ":" line ": " room " includes " included ", a room below it"; bad = 1 }
      else if (room == "kit" && target != "kit" && target != "base" && target != "graph") {
        print file ":" line ": kit sees base and graph only, not " included; bad = 1 }
      else if (target == "plot" && room != "plot" && room != "cli") {
        print file ":" line ": only cli calls plot"; bad = 1 }
    }
    END { exit bad }'
