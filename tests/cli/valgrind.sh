#!/usr/bin/env bash
# valgrind.sh INGOT: the main job in small under valgrind, as the program is built for users: memory that no sanitizer
# watches (the libraries' too) and reads of values never written. One thread, since valgrind runs one at a
# time anyway, and small shapes, since it computes each fused multiply-add in software.
set -euo pipefail
ingot=$(realpath "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

watched() {
  valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite "$ingot" "$@" 2>"errors" ||
    { cat errors >&2; echo "valgrind: ingot $*" >&2; exit 1; }
}

shape=(--layers 1 --heads 2 --dim 32 --ffn-dim 64 --context 32 --batch-size 2)
watched completion bash >/dev/null
watched devices >/dev/null
watched data stories --seed 1 --bytes 30000 >stories.txt
watched tokenizer train --vocab-size 400 --output tok.json stories.txt
watched data prepare --tokenizer tok.json --val-fraction 0.1 --rows document --output data stories.txt
for family in llama gpt2; do
  watched train --family $family "${shape[@]}" --data data --steps 2 --seed 1 --threads 1 --no-plot --output $family
  watched train --resume $family --steps 3 --no-plot
  watched eval --model $family --data data --threads 1 >/dev/null
  watched generate --model $family --prompt "One day" --max-tokens 8 --num-samples 2 --seed 1 --threads 1 >/dev/null
done
watched train --model llama --lora-rank 2 --data data --steps 2 --batch-size 2 --seed 1 --threads 1 --no-plot --output lora
watched plan --preset gpt2-124m --batch-size 4 --context 64 >/dev/null
