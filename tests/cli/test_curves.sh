# shellcheck shell=bash
# ingot curves, and tools/climb.sh: every rung of the ladder trains the demo's model to the same losses.
source "$(dirname "$0")/lib.sh"
ln -s "$(dirname "$ingot")" build
check 'the climb' "$root/tools/climb.sh" -s 3 -o climb tiled simd best amx > out 2> err
check 'a row a rung' test "$(grep -cE '^\| (tiled|simd|best) +\| +3 \|' out)" = 3
if grep -q 'level amx: this processor lacks' err; then rungs=3; else rungs=4; fi
check 'the same losses' grep -q "^$rungs rungs, losses the same at every step" out
if command -v gnuplot > /dev/null; then check 'the picture' grep -q '</svg>' climb/climb.svg; fi
cd climb || exit 1
check 'over steps' "$ingot" curves simd tiled > out
check 'a chart' grep -q 'nats a token' out
check 'json' "$ingot" curves simd tiled --json > out
check 'one object' grep -q '^{' out
check 'csv' "$ingot" curves simd -o csv > out
check 'a heading and a row' test "$(wc -l < out)" = 2
sed 's/"loss":\([0-9]\)/"loss":1\1/' simd/log.jsonl > log.jsonl
check 'losses ten apart' "$ingot" curves simd . -o jsonl > out
check 'said' grep -q '"apart": *10' out
mkdir -p later
sed -E 's/"step": *([0-9]+)/"step":9\1/' simd/log.jsonl > later/log.jsonl # no step in common: nothing is known
check 'other steps' "$ingot" curves simd later -o jsonl > out
check 'the first with itself' grep -q '"run": *"simd".*"apart": *0' out
check 'the other with nothing' test "$(grep '"run": *"later"' out | grep -c apart)" = 0
refuses 'there is no such folder' "$ingot" curves nowhere
refuses 'simd/log.jsonl is a file; ingot curves takes the folders' "$ingot" curves simd/log.jsonl
refuses 'needs RUN' "$ingot" curves
refuses 'written as .png or .svg' "$ingot" curves simd --plot x.pdf
refuses 'is not one of step, seconds' "$ingot" curves simd --over time
: > log.jsonl
refuses 'holds no step' "$ingot" curves .
exit "$failed"
