# shellcheck shell=bash
# ingot plan: numbers without a run, and the graph in words and pictures.
source "$(dirname "$0")/lib.sh"
peak() { "$ingot" plan --quiet --json "$@" | sed -n 's/.*"peak_bytes": \([0-9]*\).*/\1/p'; }

check 'numbers' "$ingot" plan --preset tiny-1m > out
check 'the parameters of tiny-1m' grep -q '965760 parameters' out
check 'a longer batch takes more' test "$(peak --preset tiny-1m --batch-size 16)" -gt "$(peak --preset tiny-1m)"
check 'recomputation takes less' test "$(peak --preset tiny-1m --recompute)" -lt "$(peak --preset tiny-1m)"
check 'a family alone is a shape' "$ingot" plan --family convnet > out
refuses 'which shape' "$ingot" plan

dump() { "$ingot" plan --preset tiny-1m --layers 1 --dump "$@"; }
check 'the model in words' dump model > out
check 'one norm before, one after attention, one at the end' test "$(grep -c ' = rms_norm(' out)" = 3
check 'names of layers' grep -q '# model.layers.0.self_attn' out
check 'the graph of a step' dump graph > out
check 'both its programs' test "$(grep -c '^graph ' out)" = 2
check 'the optimizer in it' grep -q ' = adamw(@weight.decay' out
check 'kernels' dump kernels > out
check 'each with its name' grep -q '<matmul' out
check 'where values lie' dump plan > out
check 'with lifetimes' grep -q 'steps [0-9]*-[0-9]*' out
check 'as a picture' dump model --format dot > out
check 'weights inside of boxes' grep -q 'q_proj.weight (128, 128)"' out
check 'kernels as a picture' dump kernels --format dot > out
check 'of launches alone' test "$(grep -c 'label="[a-z_]*\.*[a-z0-9_.-]* (' out)" -gt 20
check 'nothing that is not launched' test "$(grep -c 'label="\(reshape\|state\|input\)' out)" = 0
refuses 'has no --format dot' dump plan --format dot
check 'memory as a picture' dump plan --format svg > out
check 'with buffers in it' grep -q '<rect.*steps 0 to' out
if command -v dot > /dev/null; then
    check 'drawn' dump model --format svg > out
    check 'as svg' grep -q '</svg>' out
else
    refuses 'Graphviz is not installed' dump model --format svg
fi
exit "$failed"
