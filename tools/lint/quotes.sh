#!/usr/bin/env bash
# Every added line of the diffs in docs/add-an-op.md stands in the file that the diff names.
cd "$(dirname "$0")/../.." || exit 1
awk -v failed=0 '
  /^```/ { inside = ($0 == "```diff"); file = ""; next }
  !inside { next }
  /^\+\+\+ b\// {
    file = substr($0, 7)
    split("", lines)
    while ((got = (getline line < file)) > 0) lines[line] = 1
    close(file)
    if (got < 0) { print "docs/add-an-op.md names " file ", which is not there"; failed = 1 }
    next
  }
  /^\+/ && file && !(substr($0, 2) in lines) {
    print "docs/add-an-op.md:" FNR ": not in " file ": " substr($0, 2)
    failed = 1
  }
  END { exit failed }' docs/add-an-op.md
