#!/bin/bash
# ingot check: the table, JSON, a subset of ops, names that are wrong.
set -eu
ingot=$1
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
"$ingot" check --ops add,matmul --ops softmax > table.txt
grep -q '^matmul ' table.txt
grep -q '3 ops, .* 0 failures' table.txt
"$ingot" check --cpu-level naive --ops rms_norm --json > check.json
grep -q '"failures": 0' check.json
grep -q '"op": "rms_norm"' check.json
if "$ingot" check --ops sofmax 2> error.txt; then exit 1; fi
grep -q 'did you mean softmax' error.txt
if "$ingot" check --device cpuu 2> error.txt; then exit 1; fi
grep -q 'did you mean cpu' error.txt
