# shellcheck shell=bash
# ingot generate: greedy, seeds, several prompts and samples, stop strings, biases, echo, JSON, and what it refuses.
source "$(dirname "$0")/lib.sh"
set -eo pipefail
export INGOT_THREADS=1 # unit tests have more; a busy machine would make this one wait for its own threads

"$ingot" data stories --seed 1 --bytes 60000 >text.txt 2>log
"$ingot" tokenizer train --vocab-size 400 --output tok.json text.txt >>log 2>&1
"$ingot" data prepare --tokenizer tok.json --val-fraction 0.1 --output data text.txt >>log 2>&1
shape=(--layers 2 --heads 4 --dim 32 --context 64 --data data --steps 40 --batch-size 4 --lr 1e-2 --seed 1 --no-plot)
"$ingot" train --family llama --kv-heads 2 "${shape[@]}" --output run >>log 2>&1
"$ingot" train --family gpt2 "${shape[@]}" --output old >>log 2>&1

g() { "$ingot" generate --model run --max-tokens 24 "$@" 2>err; }

# Standard output has the text alone; statistics and the drawn seed are notes.
g --prompt "One day" --temperature 0 --seed 1 >greedy
g --prompt "One day" --temperature 0 --seed 2 >again
[[ -s greedy ]] && cmp greedy again || fail "greedy is not the same twice"
grep -q 'prefill [0-9]* tokens, .* tok/s; decode [0-9]* tokens' err || fail "no statistics: $(cat err)"
! grep -q tok/s greedy || fail "statistics in the text"
g --prompt "One day" --quiet --seed 1 >/dev/null; [[ ! -s err ]] || fail "--quiet says $(cat err)"
g >/dev/null; grep -q 'seed [0-9]* (drawn' err || fail "the drawn seed is not said"
seed=$(sed -n 's/.*--seed \([0-9]*\) .*/\1/p' err)
g --ignore-end >one; seed=$(sed -n 's/.*--seed \([0-9]*\) .*/\1/p' err)
g --ignore-end --seed "$seed" >two
cmp one two || fail "the drawn seed does not repeat the text"
g --ignore-end --seed $((seed + 1)) >two
! cmp -s one two || fail "another seed writes the same"

# --echo: the prompt, then what is written without it.
printf 'One day' | cat - greedy >wanted
g --prompt "One day" --temperature 0 --echo | cmp - wanted || fail "--echo"
printf 'One day\n' >prompt.txt
g --prompt-file prompt.txt --temperature 0 | cmp - greedy || fail "--prompt-file"

# Several: in order, a line of <|endoftext|> between two; the same whether they run together or one by one.
many=(-p "One day" -p "The" --num-samples 3 --seed 5 --row-invariant --ignore-end)
g "${many[@]}" >together
g "${many[@]}" --sequences 1 >alone
g "${many[@]}" --sequences 4 --page-size 4 --chunk 8 >pages
cmp together alone || fail "text depends on what runs beside it"
cmp together pages || fail "text depends on pages and chunks"
[[ $(grep -c '^<|endoftext|>$' together) == 5 ]] || fail "separators: $(cat together)"

# A stop string ends the text and is not shown, even where it spans tokens.
text=$(g --prompt "One day" --temperature 0)
stop=${text:5:7}
[[ $(g --prompt "One day" --temperature 0 --stop "$stop") == "${text%%"$stop"*}" ]] || fail "--stop '$stop' in '$text'"

# A bias of -inf forbids a token, a large one forces it: the end token.
[[ -z $(g --logit-bias 0=1000) ]] || fail "the end token is text"
g --json --logit-bias 0=-inf --seed 1 >json
grep -q '"finish_reason": "length"' json || fail "$(cat json)"
grep -q '"completion_tokens": 24' json || fail "$(cat json)"
for key in model seed completions prefill decode tokens_per_second prompt_tokens; do
  grep -q "\"$key\"" json || fail "no $key in the JSON"
done

refused() { # WORDS ARGUMENTS: fails with one message that has the words, and writes nothing
  refuses "$1" "$ingot" generate "${@:2}"
  [[ ! -s out ]] || fail "text before the error of ${*:2}"
}
refused '--context 4096 is more than the 64 positions of .*old.* (gpt2, learned positions)' --model old --context 4096
refused 'Use --context 64 or less, or train a family with rotary' --model old --context 4096
refused 'with the 64 positions of the context nothing can follow' --model old --prompt-file text.txt
refused 'ID=X' --model run --logit-bias x
refused 'vocabulary' --model run --logit-bias 400000=1
refused 'stop string 1 is empty' --model run --stop ''
refused 'top-p' --model run --top-p 1.5
refused 'did you mean' --model run --temprature 1
refused 'not enough memory for run.* and a cache of 100000000 tokens' --model run --context 100000000 --max-tokens 0
refused 'no-such-file' --model run --prompt-file no-such-file
refused '' --model nowhere
exit "$failed"
