#!/usr/bin/env bash
# tools/climb.sh [-s STEPS] [-o FOLDER] [-b BUILD] [RUNG...]: trains the demo's model (tiny-1m on stories) for a few steps at
# every rung of the CPU ladder, from the same seed on the same batches; prints the table of ms a step and losses, and draws
# FOLDER/climb.svg, loss over seconds. Fails when a rung's loss is more than 1e-3 from the first rung's at any step, more than
# 1e-1 for the rungs that multiply bfloat16, which are left out where the processor lacks them. FOLDER is replaced.
set -euo pipefail
steps=40 folder=climb build=build
while getopts s:o:b: flag; do
  case $flag in
    s) steps=$OPTARG ;;
    o) folder=$OPTARG ;;
    b) build=$OPTARG ;;
    *) sed -n '2,6s/^# //p' "$0" >&2; exit 2 ;;
  esac
done
shift $((OPTIND - 1))
rungs=("$@")
if [ $# = 0 ]; then rungs=(naive parallel tiled tiled-parallel simd blas best avx512-bf16 amx); fi
ingot=$(realpath "$build/ingot")
rm -rf "$folder"
mkdir -p "$folder"
cd "$folder"

"$ingot" data stories --seed 1 --bytes 5M --output stories.txt --quiet >/dev/null
"$ingot" tokenizer train --vocab-size 1776 --output tokenizer.json stories.txt --quiet >/dev/null
"$ingot" data prepare --tokenizer tokenizer.json --val-fraction 0.005 --rows document --output data stories.txt --quiet >/dev/null
ran=()
for rung in "${rungs[@]}"; do
  dtype=float32
  case $rung in avx512-bf16 | amx) dtype=bfloat16 ;; esac
  echo "climb: $rung" >&2
  if "$ingot" train --preset tiny-1m --data data --output "$rung" --steps "$steps" --batch-size 8 --context 128 --warmup 10 \
    --lr 3e-3 --seed 1 --save-every 0 --cpu-level "$rung" --dtype $dtype --device cpu --no-plot --quiet >/dev/null; then
    ran+=("$rung")
  elif [ $dtype = float32 ]; then
    exit 1
  fi
done
plot=()
if command -v gnuplot >/dev/null; then plot=(--plot climb.svg); fi
"$ingot" curves "${ran[@]}" --over seconds "${plot[@]}"
"$ingot" curves "${ran[@]}" -o jsonl | sed -n 's/.*"run": *"\([^"]*\)".*"apart": *\([0-9.e+-]*\).*/\1 \2/p' | awk '
  $2 > ($1 ~ /bf16|amx/ ? 1e-1 : 1e-3) { bad = 1 }
  END {
    if (NR != '"${#ran[@]}"') { print NR " of '"${#ran[@]}"' rungs have steps in common"; exit 1 }
    print NR " rungs, losses " (bad ? "FURTHER APART" : "the same") " at every step"
    exit bad || !NR
  }'
