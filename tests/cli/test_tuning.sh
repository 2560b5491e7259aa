# shellcheck shell=bash
# ingot devices --tune: choices are measured, kept, used by best, saved with a run and used again when it goes on.
source "$(dirname "$0")/lib.sh"
export HOME=$work/home XDG_CACHE_HOME=
mkdir home
kept=home/.cache/ingot/tuning-cpu.json
kernels() { "$ingot" plan --preset tiny-1m --layers 1 --device cpu --dump kernels "$@" 2> err; }

kernels > before
check 'tuning' "$ingot" devices --tune --device cpu --seconds 0.002 --quiet > tuned.txt
check 'candidates' grep -q '^| matmul .*| matmul.simd ' tuned.txt
check 'kept' grep -q '"schema": "ingot-tuning-1"' "$kept"
check 'no choice that was not measured' test "$(grep -c '"op"' "$kept")" -le "$(grep -c 'chosen' tuned.txt)"

# Choices of our own: every product by the tiled rung.
sed -n '1,/"choices"/p' "$kept" > mine.json
for smallest in 1 4 16 64 256; do
    echo "{\"op\": \"matmul\", \"dtype\": \"float32\", \"smallest\": $smallest, \"kernel\": \"matmul.tiled\"}," >> mine.json
done
echo '{"op": "matmul", "dtype": "float32", "kernel": "matmul.tiled"}]}' >> mine.json
kernels --tuning mine.json > after
check 'used' grep -q '<matmul.tiled>' after
check 'for every product' test "$(grep -c '<matmul.simd>' after)" = 0
cp mine.json "$kept"
kernels > after
check 'used where it is kept' grep -q '<matmul.tiled>' after
check 'said' grep -q "choices of kernels from .*$kept" err
kernels --tuning none > after
check 'not when it is not wanted' cmp -s before after
kernels --cpu-level simd > after
check 'only best follows it' test "$(grep -c '<matmul.tiled>' after)" = 0

# What does not fit: a file that was asked for is refused, one that lies there is left out.
sed 's/"where": "cpu: /"where": "cpu: 999 threads, /' mine.json > other.json
refuses 'was measured on cpu: 999 threads' kernels --tuning other.json
kernels --tuning other.json > /dev/null
cp other.json "$kept"
check 'left out' kernels > after
check 'as before' cmp -s before after
check 'with a warning' grep -q 'its choices are not used' err
sed 's/ingot-tuning-1/ingot-tuning-0/' mine.json > old.json
kernels --tuning old.json > /dev/null
check 'another schema' grep -q 'has schema ingot-tuning-0' err
kernels --tuning none.json > /dev/null
check 'no file' grep -q 'none.json' err
sed 's/matmul.tiled/matmul.gone/' mine.json > gone.json
check 'a kernel that is gone is no error' kernels --tuning gone.json > after
check 'but said' grep -q 'names kernel matmul.gone, which this build lacks' err
rm "$kept"

# A run keeps its choices and goes on with them.
for i in $(seq 200); do echo "the quick brown fox jumps over the lazy dog $i"; done > text.txt
"$ingot" tokenizer train --vocab-size 300 --output tok.json text.txt --quiet > /dev/null 2>&1
"$ingot" data prepare --tokenizer tok.json --output data text.txt --quiet > /dev/null 2>&1
train() { "$ingot" train --device cpu --no-plot --quiet "$@" > log 2> err; }
small=(--preset tiny-1m --layers 1 --data data --batch-size 2 --context 16 --seed 1)
check 'a run' train "${small[@]}" --steps 2 --schedule-steps 4 --output run --tuning mine.json
check 'keeps its choices' grep -q 'matmul.tiled' run/tuning.json
check 'goes on' "$ingot" train --device cpu --no-plot --resume run --steps 4 > log 2> err
check 'with them' grep -q 'choices of kernels from run/tuning.json' err
check 'in one go' train "${small[@]}" --steps 4 --output whole --tuning mine.json
check 'the same bits' cmp -s run/last/model.safetensors whole/last/model.safetensors
cp other.json run/tuning.json
check 'on another machine' "$ingot" train --device cpu --no-plot --resume run --steps 6 > log 2> err
check 'it says that it is not the same' grep -q 'not the same' err
check 'a run without choices' train "${small[@]}" --steps 2 --output plain
check 'keeps none' test ! -e plain/tuning.json
exit "$failed"
