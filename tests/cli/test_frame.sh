# shellcheck shell=bash
# The program's frame: help, unknown words, exit codes, standard output, completion, the man page.
source "$(dirname "$0")/lib.sh"

# expect CODE TEXT COMMAND...: the exit code, and TEXT in what it prints on either stream.
expect() {
  local code=$1 words=$2 got output
  shift 2
  output=$("$@" 2>&1)
  got=$?
  [[ $got == "$code" && $output == *"$words"* ]] && return
  fail "$*"
  echo "  wanted $code and '$words', got $got and: $output"
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
echo "thread: 2" >bad.yaml
expect 2 "line 1: ingot man has no option 'thread'; did you mean threads?" "$ingot" man --config bad.yaml
echo "config: other.yaml" >nested.yaml
expect 2 "a file of options cannot name another" "$ingot" man --config nested.yaml
echo "threads: 2" >good.yaml
expect 0 ".SH NAME" "$ingot" man --config good.yaml

# --json prints one object.
for words in devices "devices --kernels --device cpu" "plan --preset tiny-1m --dump model" "data stories --count 2"; do
  # shellcheck disable=SC2086 # several words
  json=$("$ingot" $words --json 2>/dev/null)
  [[ ${json:0:1} == "{" && ${json: -1} == "}" ]] || fail "no object from $words --json"
done

# Standard output: a full disk and a closed one are failures with a message, a reader that left is silent.
if [[ -w /dev/full ]]; then
  expect 1 "cannot write to standard output: No space left on device" bash -c "'$ingot' man > /dev/full"
fi
expect 1 "cannot write to standard output" bash -c "'$ingot' man >&-"

# What is generated from the tables.
for shell in bash zsh fish; do
  "$ingot" completion $shell >"completion.$shell" || failed=1
  if command -v $shell >/dev/null; then $shell -n "completion.$shell" || failed=1; fi
done
complete_words() { # what bash offers after these words
  bash -c "source ./completion.bash; COMP_WORDS=($*); COMP_CWORD=\$((\${#COMP_WORDS[@]} - 1)); _ingot; echo \"\${COMPREPLY[*]}\""
}
[[ $(complete_words ingot comp) == completion ]] || fail "completing a verb"
[[ $(complete_words ingot man --thr) == --threads ]] || fail "completing a flag"
[[ $(complete_words ingot train --preset gpt2-12) == gpt2-124m ]] || fail "completing a preset"
[[ $(complete_words ingot train --family co) == convnet ]] || fail "completing a family"
[[ $(complete_words ingot check --device nu) == null ]] || fail "completing a device"
[[ $(complete_words ingot devices --cpu-level na) == naive ]] || fail "completing a rung"
[[ $(complete_words ingot completion f) == fish ]] || fail "completing a choice"
"$ingot" man >ingot.1
if command -v groff >/dev/null; then
  [[ -z $(groff -man -ww -z ingot.1 2>&1) ]] || fail "groff warns of the man page"
fi
exit $failed
