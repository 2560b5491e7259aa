#!/usr/bin/env bash
# same_losses.sh INGOT OTHER...: both train the same small model; every step's loss must be equal to 4 digits after the point.
# OTHER may be an emulator and its program.
set -euo pipefail
ingot=$(realpath "$1")
shift
other=()
for word in "$@"; do
  if [[ -e $word ]]; then word=$(realpath "$word"); fi
  other+=("$word")
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

"$ingot" data stories --seed 1 --bytes 60000 >stories.txt
"$ingot" tokenizer train --vocab-size 500 --output tok.json stories.txt >/dev/null 2>&1
"$ingot" data prepare --tokenizer tok.json --val-fraction 0.1 --rows document --output data stories.txt >/dev/null 2>&1
shape=(--layers 2 --heads 4 --kv-heads 2 --dim 32 --ffn-dim 64 --context 64 --batch-size 4 --steps 20 --lr 3e-3 --seed 1 --no-plot)
losses() { sed -n 's/.*"loss": *\([0-9.]*\).*/\1/p' "$1/log.jsonl"; }
"$ingot" train "${shape[@]}" --data data --output here >/dev/null
"${other[@]}" train "${shape[@]}" --data data --output there >/dev/null
paste <(losses here) <(losses there) | awk '
  { difference = $1 > $2 ? $1 - $2 : $2 - $1; if (NF != 2 || difference > 1e-4) bad = 1; last = $0 }
  END { print NR " losses, the last " last; exit bad || NR < 20 }'
