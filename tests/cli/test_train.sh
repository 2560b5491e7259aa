# shellcheck shell=bash
# ingot train, eval, plan: a small run from text to checkpoint; resume bit for bit; kills, full disks, bad numbers, bad use.
source "$(dirname "$0")/lib.sh"
same() { # two runs: their last checkpoints hold the same bytes
    for file in model.safetensors optimizer.safetensors training_state.json config.json; do
        check "$file of $1 and $2 differ" cmp "$1/last/$file" "$2/last/$file"
    done
}

runs stories "$ingot" data stories --seed 3 --bytes 150k --output text.txt
runs tokenizer "$ingot" tokenizer train --vocab-size 400 --output tok.json text.txt
runs prepare "$ingot" data prepare --tokenizer tok.json --val-fraction 0.1 --rows document --output data text.txt
runs 'another tokenizer' "$ingot" tokenizer train --vocab-size 300 --output tok2.json text.txt
runs 'its data' "$ingot" data prepare --tokenizer tok2.json --val-fraction 0.1 --output data2 text.txt
small=(--layers 2 --heads 2 --dim 16 --context 32 --data data --batch-size 2 --seed 5 --threads 2 --no-plot)
llama=("${small[@]}" --family llama --kv-heads 1 --ffn-dim 24)

# Resume is exact: 3 + 3 steps give the bytes of 6, at every level, with accumulation and dropout.
exact=(--accumulate 2 --dropout 0.2 --warmup 2 --schedule-steps 6)
for level in naive parallel blas best; do
    runs "6 steps, $level" "$ingot" train "${llama[@]}" "${exact[@]}" --cpu-level $level --steps 6 --output six-$level
    runs "3 steps, $level" "$ingot" train "${llama[@]}" "${exact[@]}" --cpu-level $level --steps 3 --output three-$level
    runs "3 more, $level" "$ingot" train --resume three-$level --steps 6
    same six-$level three-$level
done
for dtype in bfloat16 float16; do
    runs "6 steps, $dtype" "$ingot" train "${llama[@]}" "${exact[@]}" --dtype $dtype --steps 6 --output six-$dtype
    runs "3 steps, $dtype" "$ingot" train "${llama[@]}" "${exact[@]}" --dtype $dtype --steps 3 --output three-$dtype
    runs "3 more, $dtype" "$ingot" train --resume three-$dtype --steps 6
    same six-$dtype three-$dtype
    runs "eval in $dtype" "$ingot" eval --model six-$dtype --data data --dtype $dtype
    runs "generate in $dtype" "$ingot" generate --model six-$dtype --max-tokens 4 --seed 1 --dtype $dtype
done
if cmp -s six-best/last/model.safetensors six-bfloat16/last/model.safetensors; then
    fail "bfloat16 gave the bits of float32"
fi
chance=("${llama[@]}" "${exact[@]}" --dtype bfloat16 --stochastic-rounding)
for optimizer in adamw sgd; do
    runs "6 steps, rounded by chance, $optimizer" "$ingot" train "${chance[@]}" --optimizer $optimizer --steps 6 --output six-chance-$optimizer
    runs "3 of them" "$ingot" train "${chance[@]}" --optimizer $optimizer --steps 3 --output three-chance-$optimizer
    runs "3 more" "$ingot" train --resume three-chance-$optimizer --steps 6
    same six-chance-$optimizer three-chance-$optimizer
done
if cmp -s six-bfloat16/last/model.safetensors six-chance-adamw/last/model.safetensors; then
    fail "weights rounded by chance gave the bits of weights rounded to nearest"
fi
runs 'a resume without it' "$ingot" train --resume six-chance-adamw --steps 7 --no-stochastic-rounding
says 'resuming with stochastic-rounding' err
runs 'adapters over frozen weights' "$ingot" train --model six-chance-adamw --lora-rank 2 --data data --dtype bfloat16 --stochastic-rounding --dropout 0 --steps 4 --seed 1 --no-plot --output lora-four
runs 'half of it' "$ingot" train --model six-chance-adamw --lora-rank 2 --data data --dtype bfloat16 --stochastic-rounding --dropout 0 --steps 2 --schedule-steps 4 --seed 1 --no-plot --output lora-two
runs 'the other half' "$ingot" train --resume lora-two --steps 4
check 'adapters are the same' cmp lora-four/last/adapter_model.safetensors lora-two/last/adapter_model.safetensors
refuses 'stochastic rounding is of 16-bit copies' "$ingot" train "${llama[@]}" --stochastic-rounding --steps 1 --output none
refuses 'device ref keeps every number in float64' "$ingot" train "${llama[@]}" --dtype bfloat16 --stochastic-rounding --device ref --steps 1 --output none
refuses 'multiplies bfloat16 only' "$ingot" train "${llama[@]}" --cpu-level avx512-bf16 --steps 1 --output none
for optimizer in adam sgd; do
    run=("${small[@]}" --family gpt2 --optimizer "$optimizer" --rows stream "${exact[@]}")
    runs "gpt2, $optimizer" "$ingot" train "${run[@]}" --steps 6 --output six-$optimizer
    runs 'half of it' "$ingot" train "${run[@]}" --steps 3 --output three-$optimizer
    runs 'the other half' "$ingot" train --resume three-$optimizer --steps 6
    same six-$optimizer three-$optimizer
done
# Steps that are submitted ahead change no bits, whatever comes between: evaluations, checkpoints, a stop, a bad number.
between=("${llama[@]}" --warmup 2 --schedule-steps 12 --save-every 5 --eval-every 3 --eval-batches 2 --steps 12)
runs '12 steps, one by one' "$ingot" train "${between[@]}" --ahead 0 --output apart
for ahead in 1 3; do
    runs "12 steps, $ahead ahead" "$ingot" train "${between[@]}" --ahead $ahead --output ahead-$ahead
    same apart ahead-$ahead
    check 'the same losses in the log' cmp <(sed 's/"seconds.*//' apart/log.jsonl) <(sed 's/"seconds.*//' ahead-$ahead/log.jsonl)
done
runs '7 steps, 3 ahead' "$ingot" train "${between[@]}" --ahead 3 --steps 7 --output ahead-seven
runs '5 more, 2 ahead' "$ingot" train --resume ahead-seven --ahead 2 --steps 12
same apart ahead-seven
for ahead in 0 3; do
    refuses 'step 2 gave a loss of' "$ingot" train "${llama[@]}" --steps 20 --lr 1e30 --clip 0 --ahead $ahead --output bad-ahead
done

# A cap on memory is kept: what does not fit is refused before it runs, with what would fit, and that does.
capped=(--preset tiny-1m --data data --context 64 --seed 1 --no-plot --steps 2 --most-memory 24M --output capped)
refuses 'a smaller --batch-size' "$ingot" train "${capped[@]}" --batch-size 64
fits=$(grep -o -- '--batch-size [0-9]* --accumulate [0-9]* needs' err | sed 's/ needs//')
check 'it says what fits' test -n "$fits"
read -ra fits <<< "$fits"
runs 'what it says that fits' "$ingot" train "${capped[@]}" "${fits[@]}" --report-memory
says 'the device handed out .* bytes, +0 of the plan' out

# The line of a resumed step is that of a run that never stopped, but for its times: z-scores look back over the stop.
lines() { sed -n 's/^\(step 1[0-9].*| lr [^|]*\)|.*/\1/p' out; }
runs '12 steps at once' "$ingot" train "${llama[@]}" --steps 12 --output twelve
lines > lines-of-twelve
runs '9 steps' "$ingot" train "${llama[@]}" --steps 9 --schedule-steps 12 --output nine
runs '3 more' "$ingot" train --resume nine --steps 12
check 'lines of steps 10 to 12' cmp lines-of-twelve <(lines)
check 'with scores' test "$(grep -c 'z)| norm .*z)' lines-of-twelve)" = 3
check 'log of a resumed run' test "$(grep -c '"loss"' three-adam/log.jsonl)" = 6
refuses 'steps is the total' "$ingot" train --resume three-adam
runs 'a longer run than its schedule' "$ingot" train --resume three-adam --steps 7
says 'the rate stays at' err
runs 'a changed rate' "$ingot" train --resume three-adam --steps 8 --lr 5e-4
says 'resuming with lr' err

# It learns, saves, keeps what it was told to keep, and logs.
runs 'a run' "$ingot" train "${llama[@]}" --steps 160 --lr 1e-2 --save-every 40 --keep 2 --log-jsonl l.jsonl --log-csv l.csv \
    --output run
check 'last' test "$(readlink run/last)" = steps/000160
check 'kept' test "$(find run/steps -mindepth 1 -maxdepth 1 | wc -l)" -le 3
check 'jsonl' test "$(grep -c '"loss"' l.jsonl)" = 160
check 'csv' test "$(wc -l < l.csv)" -ge 161
runs 'eval' "$ingot" eval --model run --data data --split val --json
value() { sed -n "s/.*\"$1\": \([0-9.e+-]*\).*/\1/p" out; } # of the JSON of the command before
bits=$(value bits_per_byte) tokens=$(value tokens)
check "it learned: $bits" awk "BEGIN { exit !($bits > 0.2 && $bits < 2.0 && $tokens > 1000) }"
mkdir hf && cp -L run/last/* hf/
runs 'eval of a plain folder' "$ingot" eval --model hf --data data --json
runs 'from those weights' "$ingot" train --model run --data data --steps 2 --seed 1 --no-plot --output run2
runs 'adapters' "$ingot" train --model run --lora-rank 2 --data data --steps 2 --seed 1 --no-plot --output lora
check 'are all that is saved' test -f lora/last/adapter_model.safetensors -a ! -f lora/last/model.safetensors
runs 'and go on' "$ingot" train --resume lora --steps 3
runs 'their base goes on' "$ingot" train --resume run --steps 164 --save-every 1 --keep 1
runs 'and spares what they stand on' "$ingot" eval --model lora --data data --json

# Nobody writes into what another verb made, and a run goes on as what it is.
refuses 'holds a run' "$ingot" data prepare --tokenizer tok.json --output run text.txt
refuses 'holds a run' "$ingot" convert --from run2 --to run --overwrite
refuses 'holds data' "$ingot" train "${llama[@]}" --steps 2 --output data --overwrite
refuses 'one of the texts' "$ingot" tokenizer train --vocab-size 300 --output text.txt text.txt
refuses 'is no tokenizer' "$ingot" tokenizer train --vocab-size 300 --output l.csv text.txt
refuses 'goes on as what it is' "$ingot" train --resume run --steps 166 --dim 64
refuses 'goes on as what it is' "$ingot" train --resume run --steps 166 --model run2
refuses 'leave --output out' "$ingot" train --resume run --steps 166 --output elsewhere
runs 'the same said again' "$ingot" train --resume run --steps 165 --dim 16
refuses 'bfloat16' "$ingot" train "${llama[@]}" --steps 2 --cpu-level amx --output rung
runs 'an eval beyond its positions' "$ingot" eval --model run --data data --context 64 --batches 1
says 'warning: --context 64 is more than the 32 positions' err
runs 'longer rows' "$ingot" train --model run --data data --context 64 --steps 2 --seed 1 --no-plot --output longer
says 'warning: --context 64 is more than the 32 positions' err
check 'are what its files say' grep -q '"max_position_embeddings": 64' longer/last/config.json
check 'which of its tokens end a text' grep -q '"eos_token": "<|endoftext|>"' run/last/tokenizer_config.json
refuses 'a folder of data' "$ingot" eval --model data --data data
runs 'plan' "$ingot" plan --preset gpt2-124m --batch-size 4 --context 64 --json
says '"parameters": 124439808' out

runs 'samples while it learns' "$ingot" train "${llama[@]}" --steps 4 --sample-every 2 --sample-tokens 5 --output samples
check 'two of them' test "$(grep -c '^sample' out)" = 2

# Pictures, through the same trainer.
runs pictures "$ingot" data images --seed 1 --count 300 --val 50 --output img
pictures=(--family convnet --data img --batch-size 16 --seed 2 --threads 2 --no-plot --schedule-steps 30)
runs convnet "$ingot" train "${pictures[@]}" --steps 30 --output cnn
runs 'half of it' "$ingot" train "${pictures[@]}" --steps 15 --output cnn-half
runs 'and the rest' "$ingot" train --resume cnn-half --steps 30
same cnn cnn-half
runs 'accuracy' "$ingot" eval --model cnn --data img --json
says '"accuracy": 0\.' out # examples/train_cnn.c reaches 98 % with Adam and with SGD
check 'SGD has a rate of its own' grep -q '^lr: 0.05$' <("$ingot" train --family convnet --data img --dim 4 --optimizer sgd \
    --steps 1 --seed 1 --no-plot --output cnn-sgd && cat cnn-sgd/run.yaml)
refuses 'data images' "$ingot" train --model cnn --data data --steps 2 --output no

# What does not fit is refused before anything is made.
refuses 'already holds a run' "$ingot" train "${llama[@]}" --steps 2 --output run
refuses 'another tokenizer' "$ingot" train --model run --data data2 --steps 2 --output no
refuses 'vocabulary' "$ingot" train "${small[@]}" --family gpt2 --vocab-size 300 --steps 2 --output no
refuses 'positions' "$ingot" train --model six-adam --data data --context 64 --steps 2 --output no
refuses 'positions' "$ingot" eval --model six-adam --data data --context 64
refuses 'holds no run' "$ingot" train --resume data --steps 4
refuses 'layers is part of' "$ingot" train --model run --layers 2 --data data --steps 2 --output no
refuses 'left: use a smaller' "$ingot" train --preset gpt2-124m --context 16384 --batch-size 64 --data data --steps 2 --output no
check 'nothing was made' test ! -e no
(
    flock -n 9 || exit 1
    refuses 'another process' "$ingot" train --resume run --steps 50
    exit $failed
) 9> run/lock || failed=1
runs 'overwrite' "$ingot" train "${llama[@]}" --steps 2 --output run2 --overwrite

# Numbers that are not finite: no weight changes, the op is named, the last checkpoint stays.
runs 'a good beginning' "$ingot" train "${llama[@]}" --steps 3 --schedule constant --output bad
refuses 'no weight was changed' "$ingot" train --resume bad --steps 100 --lr 1e30 --clip 0
says 'such a value: op [a-z_]* (model' err
says 'bad/last, of step 3' err
runs 'the last good one goes on' "$ingot" train --resume bad --steps 5 --lr 1e-3 --clip 1

# Data that turns out to be broken: what was trained before is saved, and goes on once the data is mended.
cp -r data torn
printf '\377\377' | dd of=torn/train.bin bs=1 seek=20000 conv=notrunc 2> /dev/null
refuses 'has id 65535' "$ingot" train "${llama[@]}" --data torn --rows stream --steps 5000 --output torn-run
says 'was saved: once the data is mended, ingot train --resume torn-run' err
cp data/train.bin torn/
runs 'mended' "$ingot" train --resume torn-run --steps $(($(readlink torn-run/last | tr -dc 0-9 | sed 's/^0*//') + 2))

# A damaged checkpoint is found.
cp -r six-best broken
printf 'x' | dd of=broken/last/model.safetensors bs=1 seek=$(($(stat -c %s broken/last/model.safetensors) - 3)) conv=notrunc \
    2> /dev/null
refuses 'damaged' "$ingot" train --resume broken --steps 8
refuses 'damaged' "$ingot" eval --model broken --data data
refuses 'damaged' "$ingot" generate --model broken --max-tokens 2
refuses 'damaged' "$ingot" train --model broken --data data --steps 2 --output no
check 'without its training state it is a model as any' rm broken/last/training_state.json
runs 'that is not compared' "$ingot" eval --model broken --data data --batches 1
sed -i 's/"step": 6/"step": 5/' three-best/last/training_state.json
refuses 'damaged' "$ingot" train --resume three-best --steps 8

# A disk that fills up: the checkpoint before stays.
runs 'room for one' "$ingot" train "${llama[@]}" --steps 2 --output full
(
    ulimit -f 20
    refuses 'could not be saved' "$ingot" train --resume full --steps 4
    exit $failed
) || failed=1
runs 'the old one is whole' "$ingot" train --resume full --steps 4
check 'no leftovers' test "$(ls full/steps)" = "$(printf '000002\n000004')"

# Ctrl-C finishes the step and saves.
"$ingot" train "${llama[@]}" --plot --steps 1000000 --output stopped > steps 2> stop &
pid=$!
for _ in $(seq 100); do
    grep -q 'step 3/' steps && break
    sleep 0.1
done
kill -INT $pid
wait $pid
code=$?
check "its exit code is 130, not $code" test $code = 130
says 'train --resume stopped' stop
check 'it has its curve' test -s stopped/loss.svg -o -s stopped/loss.svg.gnuplot
runs 'resumes' "$ingot" train --resume stopped --steps $(($(readlink stopped/last | tr -dc 0-9 | sed 's/^0*//') + 2))

# What was under way at a Ctrl-C is told of and saved: the run goes on as one that was not stopped.
ahead=("${llama[@]}" --schedule-steps 4000 --eval-batches 1)
"$ingot" train "${ahead[@]}" --ahead 4 --steps 4000 --output halted > steps 2> stop &
pid=$!
for _ in $(seq 100); do grep -q 'step 5/' steps && break || sleep 0.05; done
kill -INT $pid
wait $pid
at=$(readlink halted/last | tr -dc 0-9 | sed 's/^0*//')
check 'its last line is the step that was saved' test "$(grep -c "^step $at/4000 | loss" steps)" = 1
runs 'goes on' "$ingot" train --resume halted --ahead 3 --steps $((at + 4))
runs 'not stopped' "$ingot" train "${ahead[@]}" --ahead 0 --steps $((at + 4)) --output unhalted
check 'the same weights' cmp halted/last/model.safetensors unhalted/last/model.safetensors

# kill -9 at random moments of many saves: what is there always resumes, and ends where an undisturbed run ends.
kills=(--steps 60 --save-every 1 --keep 2 --eval-batches 1)
begin=$(date +%s%N)
runs 'undisturbed' "$ingot" train "${llama[@]}" "${kills[@]}" --output calm
took=$((($(date +%s%N) - begin) / 1000000)) # ms: kills come at any moment of such a run
RANDOM=7
"$ingot" train "${llama[@]}" "${kills[@]}" --output killed > steps 2>&1 &
for _ in $(seq 25); do
    pid=$!
    ms=$((RANDOM % took * 2 / 3))
    sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
    kill -9 $pid 2> /dev/null
    wait $pid 2> /dev/null && break
    if [ -e killed/last ]; then
        runs 'a killed run loads' "$ingot" eval --model killed --data data --batches 1
        "$ingot" train --resume killed > steps 2>&1 &
    else
        "$ingot" train "${llama[@]}" "${kills[@]}" --overwrite --output killed > steps 2>&1 &
    fi
done
wait
says 'step 60/60' steps
same calm killed
check 'and left nothing' test "$(ls killed/steps | grep -c tmp)" = 0
exit $failed
