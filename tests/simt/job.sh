# shellcheck shell=bash disable=SC2154,SC1091
# job.sh INGOT: the main job on the harness's device, in small, beside the CPU: the same losses and text; the same bits by every seed
# of the order in which kernels, blocks and copies take turns, without overlap, and after a resume.
source "$(dirname "$0")/../cli/lib.sh"
here=(--device cuda --no-plot)
near() { awk -v a="$1" -v b="$2" -v most="$3" 'BEGIN { d = a > b ? a - b : b - a; exit !(a > 0 && b > 0 && d <= most) }'; }
loss_of() { sed -n 's/^ *"loss": *\([0-9.]*\).*/\1/p' "$1"; }
state() { cat "$1"/last/model.safetensors "$1"/last/optimizer.safetensors | cksum; }

runs stories "$ingot" data stories --seed 3 --bytes 300K --output text.txt
runs tokenizer "$ingot" tokenizer train --vocab-size 800 --output tok.json text.txt
runs prepare "$ingot" data prepare --tokenizer tok.json --val-fraction 0.01 --rows document --output data text.txt
runs '150 steps on the cpu' "$ingot" train --preset tiny-1m --data data --context 64 --batch-size 8 --lr 2e-3 --warmup 10 --seed 1 \
    --eval-every 0 --steps 150 --device cpu --no-plot --output model

# A checkpoint of the CPU on the device: its loss, its text, by single tokens and by prompts.
"$ingot" eval --model model --data data --batches 1 --device cpu --json > cpu.json
for arch in 80 90; do
    SIMT_ARCH=$arch "$ingot" eval --model model --data data --batches 1 --device cuda --json > there.json
    near "$(loss_of cpu.json)" "$(loss_of there.json)" 1e-4 || fail "arch $arch: $(loss_of cpu.json) on the cpu, $(loss_of there.json) there"
    for prompt in 'One day' "$(head -c 160 text.txt)"; do
        tell=(generate --model model --prompt "$prompt" --max-tokens 12 --temperature 0 --seed 1 --quiet)
        "$ingot" "${tell[@]}" --device cpu > cpu.txt || fail 'generation on the cpu'
        while read -r seed how; do
            # shellcheck disable=SC2086 # words
            SIMT_ARCH=$arch SIMT_SEED=$seed "$ingot" "${tell[@]}" --device cuda $how > there.txt || fail "generation $how"
            cmp cpu.txt there.txt || fail "arch $arch, seed $seed $how: another text: $(cat there.txt)"
        done << 'END'
0
1 --persistent 2
END
    done
done

# The same bits.
small=(train --data data --context 64 --batch-size 2 --warmup 2 --schedule-steps 6 --seed 5 --eval-every 0 "${here[@]}")
while IFS='|' read -r first always; do # always: said to what goes on as well
    read -ra always <<< "$always"
    read -ra how <<< "$first ${always[*]}"
    runs "6 steps, ${how[*]}" env SIMT_ARCH=90 "$ingot" "${small[@]}" "${how[@]}" --steps 6 --output six
    runs 'one by one' env SIMT_ARCH=90 "$ingot" "${small[@]}" "${how[@]}" --ahead 0 --no-overlap --steps 6 --output other
    [[ $(state six) == "$(state other)" ]] || fail "${how[*]}: running ahead gave other bits"
    for seed in 1 2 3; do
        rm -rf other
        runs "seed $seed" env SIMT_ARCH=90 SIMT_SEED=$seed "$ingot" "${small[@]}" "${how[@]}" --steps 3 --output other
        runs "resumed, seed $seed" env SIMT_ARCH=90 SIMT_SEED=$seed "$ingot" train --resume other --steps 6 "${here[@]}" "${always[@]}"
        [[ $(state six) == "$(state other)" ]] || fail "${how[*]}: another order of work (SIMT_SEED=$seed) gave other bits"
    done
    rm -rf six other
done << 'END'
--preset tiny-1m --dtype bfloat16 --stochastic-rounding
--preset tiny-1m --dtype float32 --dropout 0.1 --accumulate 2
--family gpt2 --layers 2 --heads 4 --dim 64 --dtype float16
--preset tiny-1m --dtype bfloat16 | --persistent 1
END
exit "$failed"
