#!/usr/bin/env bash
# The program's frame: help, unknown words, exit codes, standard output, completion, the man page.
set -uo pipefail
ingot=$1 failed=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# expect CODE TEXT COMMAND...: the exit code, and TEXT in what it prints on either stream.
expect() {
  local code=$1 words=$2 got output
  shift 2
  output=$("$@" 2>&1)
  got=$?
  [[ $got == "$code" && $output == *"$words"* ]] && return
  echo "FAILED: $*"
  echo "  wanted $code and '$words', got $got and: $output"
  failed=1
}

expect 0 "usage: ingot VERB" "$ingot" --help
expect 0 "usage: ingot VERB" "$ingot" help
expect 2 "usage: ingot VERB" "$ingot"
expect 0 "ingot 0." "$ingot" --version
expect 0 "usage: ingot completion" "$ingot" completion --help
expect 0 "usage: ingot completion" "$ingot" help completion
expect 2 "there is no 'ingot hlep'; did you mean help?" "$ingot" hlep
expect 2 "has no flag --thread; did you mean --threads?" "$ingot" man --thread 2
expect 2 "--threads: 0 is too small" "$ingot" man --threads 0
expect 2 "INGOT_THREADS: 'x' is not a whole number" env INGOT_THREADS=x "$ingot" man
expect 2 "'csh' is not one of bash, zsh, fish" "$ingot" completion csh
expect 2 "ingot completion needs SHELL" "$ingot" completion
expect 2 "does not know what to do with 'two'" "$ingot" completion bash two
expect 2 "cannot open none.yaml: No such file" "$ingot" man --config none.yaml
echo "thread: 2" >"$scratch/bad.yaml"
expect 2 "line 1: ingot man has no option 'thread'; did you mean threads?" "$ingot" man --config "$scratch/bad.yaml"
echo "config: other.yaml" >"$scratch/nested.yaml"
expect 2 "a file of options cannot name another" "$ingot" man --config "$scratch/nested.yaml"
echo "threads: 2" >"$scratch/good.yaml"
expect 0 ".SH NAME" "$ingot" man --config "$scratch/good.yaml"

# --json prints one object.
for words in devices "devices --kernels --device cpu" "plan --preset tiny-1m --dump model" "data stories --count 2"; do
  # shellcheck disable=SC2086 # several words
  json=$("$ingot" $words --json 2>/dev/null)
  [[ ${json:0:1} == "{" && ${json: -1} == "}" ]] || { echo "FAILED: no object from $words --json"; failed=1; }
done

# Standard output: a full disk and a closed one are failures with a message, a reader that left is silent.
if [[ -w /dev/full ]]; then
  expect 1 "cannot write to standard output: No space left on device" bash -c "'$ingot' man > /dev/full"
fi
expect 1 "cannot write to standard output" bash -c "'$ingot' man >&-"

# What is generated from the tables.
for shell in bash zsh fish; do
  "$ingot" completion $shell >"$scratch/completion.$shell" || failed=1
  if command -v $shell >/dev/null; then $shell -n "$scratch/completion.$shell" || failed=1; fi
done
complete_words() { # what bash offers after these words
  bash -c "source '$scratch/completion.bash'; COMP_WORDS=($*); COMP_CWORD=\$((\${#COMP_WORDS[@]} - 1)); _ingot; echo \"\${COMPREPLY[*]}\""
}
[[ $(complete_words ingot comp) == completion ]] || { echo "FAILED: completing a verb"; failed=1; }
[[ $(complete_words ingot man --thr) == --threads ]] || { echo "FAILED: completing a flag"; failed=1; }
[[ $(complete_words ingot train --preset gpt2-12) == gpt2-124m ]] || { echo "FAILED: completing a preset"; failed=1; }
[[ $(complete_words ingot train --family co) == convnet ]] || { echo "FAILED: completing a family"; failed=1; }
[[ $(complete_words ingot check --device nu) == null ]] || { echo "FAILED: completing a device"; failed=1; }
[[ $(complete_words ingot devices --cpu-level na) == naive ]] || { echo "FAILED: completing a rung"; failed=1; }
[[ $(complete_words ingot completion f) == fish ]] || { echo "FAILED: completing a choice"; failed=1; }
"$ingot" man >"$scratch/ingot.1"
if command -v groff >/dev/null; then
  [[ -z $(groff -man -ww -z "$scratch/ingot.1" 2>&1) ]] || { echo "FAILED: groff warns of the man page"; failed=1; }
fi
exit $failed
