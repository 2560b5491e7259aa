#!/bin/bash
# ingot check: the table, JSON, a subset of ops, names that are wrong.
set -eu
ingot=$1
"$ingot" check --ops add,matmul --ops softmax > table.txt
grep -q '^matmul ' table.txt
grep -q '3 ops, .* 0 failures' table.txt
"$ingot" check --cpu-level naive --ops rms_norm --json > check.json
python3 - << 'PY' 2> /dev/null || grep -q '"failures": 0' check.json
import json
report = json.load(open("check.json"))
assert report["failures"] == 0 and report["ops"][0]["op"] == "rms_norm" and report["ops"][0]["runs"] > 0
PY
! "$ingot" check --ops sofmax 2> error.txt
grep -q 'did you mean softmax' error.txt
! "$ingot" check --device cpuu 2> error.txt
grep -q 'did you mean cpu' error.txt
rm -f table.txt check.json error.txt
