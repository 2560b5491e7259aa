# shellcheck shell=bash
# ingot check: the table, JSON, a subset of ops, names that are wrong.
source "$(dirname "$0")/lib.sh"

check 'three ops' "$ingot" check --ops add,matmul --ops softmax > table.txt
says '^matmul ' table.txt
says '3 ops, .* 0 failures' table.txt
check 'as JSON' "$ingot" check --cpu-level naive --ops rms_norm --json > check.json
says '"failures": 0' check.json
says '"op": "rms_norm"' check.json
check 'small samples only' "$ingot" check --small --ops softmax,matmul > small.txt
says '^2 ops, 1[0-9] samples, .* 0 failures' small.txt
check 'float64, where float32 results are the rounded ones' "$ingot" check --dtype float64 --ops pointwise,matmul > double.txt
says '^2 ops, .* 0 failures' double.txt
refuses 'did you mean softmax' "$ingot" check --ops sofmax
refuses 'did you mean cpu' "$ingot" check --device cpuu
exit "$failed"
