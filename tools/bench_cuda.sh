#!/usr/bin/env bash
# bench_cuda.sh INGOT [--quick]: what docs/performance.md says of NVIDIA GPUs, measured again: training steps, ops in graphs, prompts and
# tokens; beside them PyTorch, where python3 has it (tools/peers/cuda_ops.py). --quick leaves the long ones and peers out.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
ingot=$1 quick=${2:-}
if ! line=$("$ingot" devices | grep '^cuda') || [[ $line == *'not here'* ]]; then
  echo "NOT RUN: ${line:-$ingot knows no device cuda}"
  exit 0
fi
echo "$line"
failed=0
show() { # TITLE COMMAND...
  echo
  echo "## $1"
  shift
  echo "    $*"
  "$@" || { echo "FAILED: $*"; failed=1; }
}
cuda=(--device cuda)
show 'a step of tiny-1m, B8 T128' "$ingot" bench train --preset tiny-1m --batch-size 8 --context 128 --dtype float32,bfloat16 \
  "${cuda[@]}" --repetitions 100 -o md
show 'ops' "$ingot" bench ops --ops attention,softmax,rms_norm,lora_linear "${cuda[@]}" --dtype bfloat16 --fused both -o md
show 'tokens and prompts' "$ingot" bench infer --preset llama-1b,smollm2-135m -p 512,4096 -n 128 --dtype bfloat16 "${cuda[@]}" -o md
if [[ $quick != --quick ]]; then
  show 'a step of GPT-2 124M, B64 T1024' "$ingot" bench train --preset gpt2-124m --batch-size 64 --context 1024 --dtype bfloat16 \
    "${cuda[@]}" --repetitions 20 -o md
  show 'pictures' "$ingot" bench train --family convnet --batch-size 32 --optimizer sgd,adam "${cuda[@]}" --repetitions 100 -o md
  show 'the ladder' "$ingot" bench ladder --sizes 128,256,512,1024,2048,4096 --devices cpu,cuda -o md
  if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    show 'PyTorch beside it' python3 tools/peers/cuda_ops.py --compile --train
  else
    echo
    echo 'NOT RUN: python3 has no torch that sees this GPU'
  fi
fi
exit $failed
