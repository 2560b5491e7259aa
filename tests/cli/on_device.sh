# shellcheck shell=bash
# on_device.sh INGOT DEVICE: the main job on a device, beside the CPU: 200 steps of the demo's model with the same losses, the same
# bits again and after a resume, checkpoints that move between the two, the same text, memory as planned. ./dev test --device runs it.
source "$(dirname "$0")/lib.sh"
device=${2:?on_device.sh INGOT DEVICE}
here=(--device "$device" --no-plot)
same() { cmp -s "$1/last/model.safetensors" "$2/last/model.safetensors" && cmp -s "$1/last/optimizer.safetensors" "$2/last/optimizer.safetensors"; }
loss_of() { sed -n 's/^ *"loss": *\([0-9.]*\).*/\1/p' "$1"; }
near() { awk -v a="$1" -v b="$2" -v most="$3" 'BEGIN { d = a > b ? a - b : b - a; exit !(a > 0 && b > 0 && d <= most) }'; }

runs stories "$ingot" data stories --seed 3 --bytes 1M --output text.txt
runs tokenizer "$ingot" tokenizer train --vocab-size 1776 --output tok.json text.txt
runs prepare "$ingot" data prepare --tokenizer tok.json --val-fraction 0.05 --rows document --output data text.txt
demo=(train --preset tiny-1m --data data --batch-size 8 --lr 2e-3 --warmup 30 --seed 1 --eval-every 0 --log-every 50 --steps 200)

runs '200 steps on the cpu' "$ingot" "${demo[@]}" --device cpu --no-plot --output on-cpu
for dtype in float32 bfloat16 float16; do
    runs "200 steps, $dtype" "$ingot" "${demo[@]}" "${here[@]}" --dtype $dtype --output "on-$dtype"
    "$ingot" curves on-cpu "on-$dtype" -o csv > curves.csv
    echo "$dtype beside the cpu's float32: $(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i }
        NR == 3 { print "last loss " $at["\"loss\""] ", most apart " $at["\"apart\""] }' curves.csv | tr -d '"')"
    apart=$(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "\"apart\"") at = i } NR == 3 { print $at }' curves.csv | tr -d '"')
    [[ $apart =~ ^[0-9] ]] || fail "$dtype: curves gave no distance: '$apart'"
    most=0.05
    [[ $dtype == float32 ]] || most=0.15
    near 1 "$(awk -v a="$apart" 'BEGIN { print 1 + a }')" $most || fail "$dtype: losses are $apart apart, $most is the most"
done

# The same bits: again, where each step and kernel waits for the one before it, and after a resume.
small=(train --data data --context 64 --batch-size 2 --warmup 2 --schedule-steps 12 --seed 5)
while read -ra how; do
    runs "12 steps, ${how[*]}" "$ingot" "${small[@]}" "${here[@]}" "${how[@]}" --steps 12 --output twelve
    runs 'one by one' "$ingot" "${small[@]}" "${here[@]}" "${how[@]}" --ahead 0 --no-overlap --steps 12 --output apart
    same twelve apart || fail "${how[*]}: running ahead gave other bits"
    runs 'half of it' "$ingot" "${small[@]}" "${here[@]}" "${how[@]}" --steps 5 --output five
    runs 'the other half' "$ingot" train --resume five --steps 12 "${here[@]}"
    same twelve five || fail "${how[*]}: a resume gave other bits"
    rm -rf twelve apart five
done << 'END'
--preset tiny-1m --dtype float32
--preset tiny-1m --dtype bfloat16
--preset tiny-1m --dtype float16
--preset tiny-1m --dtype bfloat16 --stochastic-rounding
--preset tiny-1m --dtype bfloat16 --dropout 0.1 --accumulate 2 --optimizer sgd
--family gpt2 --layers 2 --heads 4 --dim 64 --dtype bfloat16 --dropout 0.1
END
# Chains of steps as one launch: other sums, so near the same losses; bits of their own, again and after a resume.
chains=("${small[@]}" --preset tiny-1m --dtype bfloat16 --accumulate 2)
runs '12 steps, launch by launch' "$ingot" "${chains[@]}" "${here[@]}" --persistent -1 --steps 12 --output plain
runs '12 steps, chains as one launch' "$ingot" "${chains[@]}" "${here[@]}" --persistent 1 --steps 12 --output twelve
runs 'without overlap' "$ingot" "${chains[@]}" "${here[@]}" --persistent 1 --no-overlap --ahead 0 --steps 12 --output apart
same twelve apart || fail 'chains: running ahead gave other bits'
! same plain twelve || fail 'chains: none was made'
runs 'half of it' "$ingot" "${chains[@]}" "${here[@]}" --persistent 1 --steps 5 --output five
runs 'the other half' "$ingot" train --resume five --steps 12 "${here[@]}" --persistent 1
same twelve five || fail 'chains: a resume gave other bits'
for run in plain twelve; do "$ingot" eval --model $run --data data --device cpu --json > $run.json; done
near "$(loss_of plain.json)" "$(loss_of twelve.json)" 5e-3 || fail "chains: $(loss_of twelve.json) where steps give $(loss_of plain.json)"
rm -rf plain twelve apart five

refuses 'no weight was changed' "$ingot" "${small[@]}" "${here[@]}" --preset tiny-1m --lr 1e30 --clip 0 --steps 20 --output none

# A checkpoint of one is a checkpoint of the other: the same loss on the val split, and the training goes on.
for from in on-cpu on-float32; do
    "$ingot" eval --model $from --data data --device cpu --json > cpu.json
    "$ingot" eval --model $from --data data --device "$device" --json > there.json
    near "$(loss_of cpu.json)" "$(loss_of there.json)" 1e-4 || fail "$from: $(loss_of cpu.json) on the cpu, $(loss_of there.json) on $device"
done
runs 'on the device what the cpu began' "$ingot" train --resume on-cpu --steps 205 "${here[@]}"
runs 'on the cpu what the device began' "$ingot" train --resume on-float32 --steps 205 --device cpu --no-plot

tell=(generate --model on-float32 --prompt 'One day' --max-tokens 40 --temperature 0 --seed 1)
"$ingot" "${tell[@]}" --quiet --device cpu > cpu.txt && "$ingot" "${tell[@]}" --quiet --device "$device" > there.txt || fail 'generation'
cmp cpu.txt there.txt || fail "$device writes another text"

runs 'a profile' "$ingot" profile --preset tiny-1m --batch-size 4 --context 64 --device "$device"
runs 'a benchmark' "$ingot" bench train --preset tiny-1m --batch-size 4 --context 64 --device "$device" -o json
runs 'ops' "$ingot" bench ops --ops softmax,lora_linear --device "$device" --seconds 0.01
runs 'kernels' "$ingot" devices --kernels --device "$device"
# Kernels that are nobody's default are in no other check.
"$ingot" devices --kernels --device "$device" | awk '/^[^ ]/ { op = $1 } /by --prefer only/ { print op, /^ / ? $1 : $2 }' > by-request
while read -r op kernel; do
    for dtype in float32 bfloat16; do
        runs "$kernel, $dtype" "$ingot" check --device "$device" --dtype $dtype --ops "$op" --prefer "$kernel"
    done
done < by-request
refuses 'is not one of' "$ingot" train --preset tiny-1m --data data --device "$device" --dtype float8 --output none
exit "$failed"
