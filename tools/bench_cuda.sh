#!/usr/bin/env bash
# bench_cuda.sh INGOT [--no-peers] [--all-peers]: the CUDA table of docs/performance.md, measured again on this GPU. First Ingot, a row
# as soon as it is there; then PyTorch, where python3 has it (tools/peers/cuda_steps.py), a line as soon as it is there; then one table:
# the work, its limit, Ingot, the fastest peer of this run, what was wanted, and the ratios. --all-peers also compiles what takes longer.
set -uo pipefail
ingot=$(realpath "$1")
peers=$(realpath "$(dirname "$0")")/peers
shift
alone='' only=()
for word in "$@"; do
  case $word in
    --no-peers) alone=1 ;;
    --all-peers) only=(--only all) ;;
    *) echo "bench_cuda.sh does not know $word: --no-peers, --all-peers" >&2; exit 2 ;;
  esac
done
line=$("$ingot" devices --quiet | grep '^cuda') || line="cuda: not here: $ingot knows no such device"
if [[ $line == *': not here: '* ]]; then
  echo "NOT RUN: ${line#*: not here: }"
  exit 0
fi
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
echo "${line#*: }; $("$ingot" --version | head -1); $(date -u +%F)"
: >"$logs/peers"
: >"$logs/failed"
ours() { # KEY COMMAND...: what the verb says as JSON, once
  local key=$1
  shift
  "$ingot" "$@" --device cuda --quiet -o json >"$logs/$key" 2>"$logs/$key.err" ||
    echo "FAILED: ingot $* --device cuda: $(tail -n 1 "$logs/$key.err")" >>"$logs/failed"
}
field() { # KEY FIELD [N]: the N-th number of that name
  sed -nE "s/^ *\"$2\": ([0-9.e+-]+),?$/\1/p" "$logs/$1" | sed -n "${3:-1}p"
}
# Rows are kept, WORK|LIMIT|VALUE|UNIT|WANTED|less or more|PEER..., and shown at once without peers.
row() {
  local peer_names=${*:7}
  echo "$1|$2|$3|$4|$5|$6|$peer_names" | tee -a "$logs/rows" | show
}
show() { # rows as those of a table: the fastest of the peers that are there
  awk -F'|' -v peers="$logs/peers" '
    function short(x) { return sprintf(x >= 10000 ? "%.0f" : "%.4g", x) }
    BEGIN { while ((getline line < peers) > 0) { split(line, at, " "); found[at[1]] = at[2] } }
    {
      less = $6 == "less"; peer = 0; name = ""; count = split($7, names, " ")
      for (i = 1; i <= count; i++) {
        seen = found[names[i]] + 0
        if (seen && (!peer || (less ? seen < peer : seen > peer))) { peer = seen; name = names[i] }
      }
      value = $3 + 0
      printf "| %s | %s | %s | %s | %s | %s | %s |\n", $1, $2, value ? short(value) " " $4 : "not measured",
        peer ? short(peer) " (" name ")" : "", $5 + 0 ? (less ? "<= " : ">= ") $5 " " $4 : $5,
        $5 + 0 && value ? sprintf("%.2f", value / $5) : "", peer && value ? sprintf("%.2f", value / peer) : ""
    }'
}
heading() {
  echo
  echo '| work | limit | Ingot | fastest peer in this run | wanted | Ingot / wanted | Ingot / peer |'
  echo '|---|---|---|---|---|---|---|'
}
scaled() { awk -v x="$1" -v by="$2" 'BEGIN { if (x != "") printf "%.6g", x * by }'; }
rate() { awk -v of="$1" -v by="$2" 'BEGIN { if (by > 0) printf "%.6g", of / by }'; }

heading
ours gpt2 bench train --preset gpt2-124m --batch-size 64 --context 1024 --dtype bfloat16 --repetitions 20
row 'GPT-2 124M step, B64 T1024 bf16' 'GEMM 69.8 ms, about 100 in all' "$(field gpt2 ms_per_step)" ms 105 less gpt2 gpt2-cudnn gpt2-autotune
row 'its memory, as planned' '' "$(scaled "$(field gpt2 peak_bytes)" 1e-9)" GB "within 5 % of the driver's count" less gpt2-memory gpt2-cudnn-memory
row "its memory, the driver's count" '' "$(scaled "$(field gpt2 resident_bytes)" 1e-9)" GB "below the peer's" less gpt2-memory gpt2-cudnn-memory
tiny=(bench train --preset tiny-1m --batch-size 8 --context 128 --repetitions 300)
ours tiny "${tiny[@]}" --dtype bfloat16,float32
row 'tiny-1m step, B8 T128 bf16' launches "$(field tiny ms_per_step 1)" ms 0.25 less tiny-bfloat16
row 'the same in float32' launches "$(field tiny ms_per_step 2)" ms 0.25 less tiny-float32 tiny-reduce-overhead
ours tiny-tf32 "${tiny[@]}" --tf32
row 'the same with TF32' launches "$(field tiny-tf32 ms_per_step)" ms 0.25 less tiny-tf32
infer=(bench infer --no-uncached --dtype bfloat16 --repetitions 3)
ours llama "${infer[@]}" --preset llama-1b -p 4096 -n 128
ours smollm "${infer[@]}" --preset smollm2-135m -p 16 -n 128
row 'decode batch 1, Llama 1B bf16, tok/s' '1,730' "$(field llama median_ts 2)" '' 1200 more decode-llama-1b
row 'decode batch 1, SmolLM2-135M bf16, tok/s' '15,900' "$(field smollm median_ts 2)" '' 2500 more decode-smollm2-135m
row 'prefill 4096 tokens, Llama 1B bf16, tok/s' 'about 318,000' "$(field llama median_ts 1)" '' 160000 more prefill-llama-1b
attention() { # NAME SHAPE BATCH CONTEXT HEADS DIM WANTED-FORWARD WANTED-BACKWARD: 1.3 times FlashAttention 2
  local flops
  flops=$(awk -v B="$3" -v T="$4" -v H="$5" -v D="$6" 'BEGIN { print 4 * B * H * T * (T + 1) / 2 * D }')
  ours "a-$1" bench ops --ops attention --dtype bfloat16 --shape "$2,$2,$2"
  row "attention forward, B$3 H$5 T$4 D$6 causal bf16" '' "$(rate "$flops" "$(scaled "$(field "a-$1" us 2)" 1e6)")" TFLOP/s "$7" more attention-"$1"-{flash,cudnn}
  ours "g-$1" bench ops --ops attention_grad --dtype bfloat16 --shape "$2,$2,$2,$2,$2,$3x$5x$4"
  row "attention backward, the same" '' "$(rate "$(scaled "$flops" 2.5)" "$(scaled "$(field "g-$1" us 2)" 1e6)")" TFLOP/s "$8" more attention_grad-"$1"-{flash,cudnn}
}
attention d64 64x1024x12x64 64 1024 12 64 278 177
attention d128 4x4096x32x128 4 4096 32 128 413 325
for op in softmax rms_norm; do
  shape=65536x4096
  [[ $op == softmax ]] || shape+=,4096
  ours "$op-large" bench ops --ops $op --dtype bfloat16 --shape $shape
  row "$op bf16 65536x4096" 'copy 4.28 TB/s' "$(scaled "$(field "$op-large" gb_per_s)" 1e-3)" TB/s 3.9 more $op-large $op-compiled-large
done
ours small bench ops --ops softmax,rms_norm,lora_linear --dtype bfloat16 --chain 20
row 'softmax bf16 128x1024, in a graph' 'launch about 2 us' "$(field small us 2)" us 2.5 less softmax-small softmax-compiled-small
row 'rms_norm bf16 128x1024, in a graph' 'launch about 2 us' "$(field small us 4)" us 2.2 less rms_norm-small rms_norm-compiled-small
row 'lora_linear 128x512x512 r8 bf16, in a graph' 'base product 3.1 us' "$(field small us 6)" us reported less lora_linear lora_linear-compiled
ours convnet bench train --family convnet --image 3x32x32 --batch-size 32 --optimizer sgd,adam --repetitions 300
row 'convnet 32x3x32x32 SGD, float32' '' "$(rate 1000 "$(field convnet ms_per_step 1)")" batch/s reported more convnet-sgd-float32
row 'convnet 32x3x32x32 Adam, float32' '' "$(rate 1000 "$(field convnet ms_per_step 2)")" batch/s reported more convnet-adam-float32
if [[ $alone ]]; then
  echo 'Peers: left out'
elif python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
  echo
  python3 "$peers/cuda_steps.py" --together ${only[@]+"${only[@]}"} 2>"$logs/errors" | tee -a "$logs/peers" | sed 's/^/    /'
  heading
  show <"$logs/rows"
else
  echo 'Peers: NOT RUN: python3 has no torch that sees this GPU'
fi
if [[ -s $logs/errors ]]; then grep -vE 'Warning|warn' "$logs/errors" | tail -n 5; fi
cat "$logs/failed"
[[ ! -s $logs/failed ]]
