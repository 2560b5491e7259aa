# shellcheck shell=bash
# ingot bench: command lines that must work, files against each other, what is refused.
source "$(dirname "$0")/lib.sh"

check 'a ladder' "$ingot" bench ladder --sizes 16-64*2 --dtype float32,float64 --devices cpu --seconds 0.01 > ladder.txt
check 'the peak first' grep -q 'measured peak [0-9.]* GFLOP/s float32' ladder.txt
check 'every rung' grep -q '| tiled-parallel ' ladder.txt
check 'its effort' grep -q '| naive  *|  *1 |  *40 |  *0.5 ' ladder.txt
check 'speed over naive in float64 too' grep -q '^| float64 | cpu .*matmul.tiled_parallel.f64' ladder.txt
check 'winners in the order of sizes' awk '/^float32 16: /{a=NR} /^float32 32: /{b=NR} /^float32 64: /{c=NR} END{exit !(a && a < b && b < c)}' ladder.txt
if "$ingot" devices | grep -q '^cuda .*not here'; then # a device that is not here costs no row of the others
    check 'without CUDA' "$ingot" bench ladder --sizes 16 --devices cpu,cuda --seconds 0.001 --no-chart > out
    check 'says so' grep -q '^| cuda .*CUDA here' out
fi
grep -m1 '^| amx ' ladder.txt > amx.txt
if ! grep -q '| yes *|$' amx.txt; then # in both dtypes for one reason
    check 'a rung that is not here says so' grep -qE '\| (level amx|amx|float32|float64|no kernel)[^|]*\|$' amx.txt
    check 'once' test "$(grep -o 'lacks its instructions' amx.txt | wc -l)" -le 1
fi
check 'winners' grep -q 'float32 64: .* wins with' ladder.txt
check 'a chart' grep -q 'products of N x N matrices' ladder.txt
check 'a naive product that takes too long is estimated' \
    "$ingot" bench ladder --sizes 512 --cap 0.001 --seconds 0.001 --no-chart > out
check 'and marked' grep -q '| naive .*| ~[0-9.]* (not run)' out
if command -v gnuplot > /dev/null; then
    check 'pictures' "$ingot" bench ladder --sizes 16,32 --seconds 0.01 --plot l.svg --plot l.png -o json > /dev/null
    check 'svg' grep -q '</svg>' l.svg
    check 'png' test -s l.png
fi
refuses 'gnuplot' env PATH=/nowhere "$ingot" bench ladder --sizes 16,32 --seconds 0.001 --plot x.svg -o json
refuses 'written as .png or .svg' "$ingot" bench ladder --sizes 16 --plot x.pdf
refuses 'cannot write to nowhere/' "$ingot" bench ladder --sizes 16 --plot nowhere/x.svg
refuses 'numbers are written' "$ingot" bench ladder --sizes 128-
refuses 'numbers are written' "$ingot" bench ladder --sizes 12x
refuses 'did you mean cpu' "$ingot" bench ladder --devices cpus --sizes 8
refuses '--dtype int32: there are' "$ingot" bench ladder --dtype int32

check 'ops' "$ingot" bench ops --ops rms_norm,lora_linear --fused both --seconds 0.01 > ops.txt
check 'the bare launch' grep -q '^| launch ' ops.txt
check 'small shapes too' grep -q '| rms_norm  *| (128, 1024) (1024)' ops.txt
check 'the shape of lora_linear' grep -q '(128, 512) (512, 512) (8, 512) (512, 8)' ops.txt
if grep '^| lora_linear .*no kernel of its own' ops.txt > own.txt; then # a program and itself have no ratio
    check 'none of equal programs' test "$(awk -F'|' '{gsub(/ /, "", $0); print $(NF-3)}' own.txt)" = ''
fi
check 'ratios' grep -q 'lowered / fused' ops.txt
check 'samples' "$ingot" bench ops --ops softmax --samples --seconds 0.001 -o jsonl > ops.jsonl
check 'more of them' test "$(wc -l < ops.jsonl)" -gt 5
check 'own shapes' "$ingot" bench ops --ops matmul --shape 8x9,9x7 --shape 16x16,16x16,16x16 --seconds 0.001 > out
check 'each a row' test "$(grep -c '^| matmul ' out)" = 2
check 'a chain' "$ingot" bench ops --ops softmax --chain 3 --shape 4x9 --seconds 0.001 -o jsonl > out
check 'of three' grep -q '"chain": *3.*"kernels": *"[a-z_.]*",' out
refuses 'no chain' "$ingot" bench ops --ops matmul --chain 2 --shape 8x9,9x7 --seconds 0.001
refuses 'shapes are written' "$ingot" bench ops --ops matmul --shape 8by9
refuses 'of one op' "$ingot" bench ops --shape 8x9
refuses 'matmul' "$ingot" bench ops --ops matmul --shape 8x9,8x7
refuses 'did you mean softmax' "$ingot" bench ops --ops sotfmax

train() { "$ingot" bench train --preset tiny-1m --batch-size 1 --context 8,16 --repetitions 5 --warmup 1 --quiet "$@"; }
check 'training' train -o json > train.json
check 'a name that scripts read' grep -q '"ms_per_step":' train.json
check 'a row each' test "$(grep -c '"test": "train B1xT' train.json)" = 2
check 'its kernels' grep -q '"kernels": ".*adamw[^,]* x[0-9]' train.json
check 'its commit' grep -q '"build_commit": "[0-9a-z]' train.json
check 'lines' train -o jsonl > train.jsonl
check 'csv' train -o csv > train.csv
check 'headings once' test "$(grep -c '^"schema"' train.csv)" = 1
check 'convnet' "$ingot" bench train --family convnet --image 3x32x32 --batch-size 2 --optimizer sgd,adam --repetitions 2 > out
check 'both optimizers' test "$(grep -c '^| convnet .*| \(sgd\|adam\) ' out)" = 2
refuses '3xSxS' "$ingot" bench train --family convnet --image 32x32
refuses 'no family of pictures' "$ingot" bench train --preset tiny-1m --image 3x32x32
refuses 'there are adamw, adam and sgd' "$ingot" bench train --preset tiny-1m --optimizer lion

# Against results of another day; times made ten times shorter are a regression now, ten times longer are none.
scaled() { sed -E "s/(\"(median_ns|min_ns)\": )([0-9.]+)/\1\3$1/" train.json; }
scaled e-3 > fast.json
scaled e3 > slow.json
sed -n 's/ingot-bench-1/ingot-bench-0/p' train.jsonl > old.json
check 'faster than before' train --against slow.json > out
check 'said' grep -q '^faster  train tiny-1m train B1xT8' out
refuses 'became slower than in fast.json' train --against fast.json
refuses 'has schema ingot-bench-0' train --against old.json
echo '{"loss": 1}' > other.json
refuses 'no results of ingot bench' "$ingot" bench compare other.json train.json
refuses 'No such file' train --against none.json
check 'one object' train --json > results.json
check 'what --json prints' "$ingot" bench compare results.json --against results.json > out
cat train.jsonl train.jsonl > twice.jsonl
refuses 'has two results of train tiny-1m' train --against twice.jsonl
train --layers 1 -o json > shallow.json # another model by the same name
refuses 'no row fits' "$ingot" bench compare train.json --against shallow.json
train --prefer matmul.naive -o json > naive.json # what was asked for
refuses 'no row fits' "$ingot" bench compare train.json --against naive.json
train --repetitions 1 -o json > one.json
refuses 'one sample has no spread' "$ingot" bench compare one.json --against train.json
check 'two presets' "$ingot" bench train --preset tiny-1m,tiny-1m --batch-size 1 --context 8 --repetitions 1 -o jsonl > out
check 'a row each' test "$(wc -l < out)" = 2
check 'too many threads' train --threads 200 --context 8 > out 2> err
check 'said' grep -q 'warning: --threads 200 is more than the [0-9]* cores* here' err
check 'files against each other' "$ingot" bench compare fast.json --against slow.json > out
check 'a verdict' grep -q '^faster  train tiny-1m train B1xT16' out
refuses 'became slower than in fast.json' "$ingot" bench compare slow.json --against fast.json
check 'machines side by side' "$ingot" bench compare train.json slow.json fast.json > out
check 'one line each' test "$(grep -c '^| train tiny-1m' out)" = 2

check 'prompts and generation' "$ingot" bench infer --preset tiny-1m -p 16 -n 4 -b 1,2 -r 2 --quiet > infer.txt
check 'a prompt' grep -q '| pp16 ' infer.txt
check 'generation without the cache' grep -q '| tg4 no cache ' infer.txt
check 'as llama-bench writes it' grep -q '| [0-9.]* ± [0-9.]* ' infer.txt
check 'at a depth' "$ingot" bench infer --preset tiny-1m -p 0 -n 4 -d 32 -r 2 --no-uncached -o json --quiet > infer.json
check 'its name' grep -q '"test": "tg4 @ d32"' infer.json
took() { "$ingot" bench infer --preset tiny-1m -p 0 -n 4 -r 2 -o jsonl --quiet "$@" | sed -n '/no cache/s/.*"median_ns":\([0-9]*\).*/\1/p'; }
for _ in 1 2 3; do # others may use the machine in one of them
    shallow=$(took)
    deep=$(took -d 96) # what lies before the token is run again too: 394 rows, not 10
    ((deep > 2 * shallow)) && break
done
check 'without the cache the depth is read again' test "$deep" -gt "$((2 * shallow))"
check 'their kernels' grep -q '"kernels": ".*attention_rows.* x[0-9]' infer.json
check 'their fields' grep -q '"avg_ts":' infer.json
check 'sequences that fill no whole page' "$ingot" bench infer --preset tiny-1m -p 48 -n 4 -b 2 -r 1 --quiet > out
check 'behind a depth' "$ingot" bench infer --preset tiny-1m -d 32 -p 16 -n 4 -b 1,2 -r 1 --quiet > out
for verb in 'bench train' profile; do # no machine holds it: said from the plan, with advice, before anything runs
    refuses 'use a smaller --batch-size' timeout 60 "$ingot" $verb --preset gpt2-774m --batch-size 4096
done
refuses 'which model' "$ingot" bench infer

profile() { "$ingot" profile --preset tiny-1m --layers 2 --batch-size 2 --context 16 --repetitions 3 --quiet "$@"; }
check 'a profile' profile --trace trace.json --save profile.json > profile.txt
check 'kernels of a step' grep -q '^| adamw ' profile.txt
check 'what the timing costs' grep -q 'while it is timed (' profile.txt
check 'a token of each of three sequences' profile --phase decode --batch-size 3 --context 40 > out
check 'a trace' grep -q '"ph": "X".*"scope": "model.layers.0.mlp"' trace.json
check 'again' profile --against profile.json --tolerance 1000 > out
check 'nothing new' test "$(grep -c '^new' out)" = 0
check 'against itself' "$ingot" bench compare profile.json --against profile.json > out # two kernels of one op are two rows
check 'all the same' test "$(grep -c '^same ' out)" = "$(grep -c '"median_ns"' profile.json)"
check 'by layer' profile --sync layer > out
check 'forwards and backwards' grep -q '^| model.layers.1 backward ' out
check 'by program' profile --sync step > out
check 'two of them' test "$(grep -c '^| [mu]' out)" = 2
check 'by scope' profile --by scope > out
check 'layers together' grep -q '^| model.layers.\*.mlp ' out
check 'a token' profile --phase decode --by op > out
check 'from the cache' grep -q '^| attention_rows ' out
check 'a prompt' profile --phase prefill --batch-size 1 -o json > out
check 'its length' grep -q '"test": "pp16 B1"' out
refuses 'leave --by out' profile --by op --sync layer
refuses 'writes no text' "$ingot" profile --family convnet --phase decode
if command -v gnuplot > /dev/null; then
    check 'the roofline' profile --plot roof.svg --plot roof.png > /dev/null
    check 'svg' grep -q '</svg>' roof.svg
    check 'png' test -s roof.png
fi
exit "$failed"
