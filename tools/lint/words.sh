#!/usr/bin/env bash
# Marks of unfinished work have no place in the tree.
cd "$(dirname "$0")/../.." || exit 1
! git grep -nIE '\b(TODO|FIXME|XXX|HACK)\b' -- src include examples tests tools docs dev ':!tools/lint/words.sh'
