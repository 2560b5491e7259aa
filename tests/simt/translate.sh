#!/usr/bin/env bash
# translate.sh FILE: CUDA C++ as C++, on stdout: launches, and dynamic shared memory. All else is done by device.h.
set -euo pipefail
exec perl -0777 -pe '
  s{(\b[A-Za-z_][\w:]*(<(?:[^<>]++|(?2))*>)?)\s*<<<(.*?)>>>(?=\()}{simt::start("$1", $3)([=](auto... a) { $1(a...); })}sg;
  s{extern\s+__shared__\s+(?:__align__\(\d+\)\s*)?([\w ]+?)\s*(\w+)\[\];}{auto *$2 = ($1 *)simt::dynamic_shared();}g;
  print "#line 1 \"$ARGV\"\n";' "$1"
