# shellcheck shell=bash
# tools/peers: the scripts run where no peer is installed, and say what they leave out. Needs python3, which nothing else does.
source "$(dirname "$0")/lib.sh"
tools=$root/tools/peers
if ! command -v python3 > /dev/null; then echo 'SKIPPED: no python3'; exit 0; fi
if [[ ! -d $tools ]]; then echo 'SKIPPED: no tools/peers beside the tests'; exit 0; fi
mkdir build
ln -s "$ingot" build/ingot

for peer in torch mlx numpy; do mkdir -p "none/$peer"; echo 'raise ImportError("not here")' > "none/$peer/__init__.py"; done
check 'ops without peers' env PYTHONPATH=none PYTHONDONTWRITEBYTECODE=1 python3 "$tools/ops.py" --small --rounds 1 --seconds 0.001 --only sgemm,small,softmax > out
check 'said' grep -q '^LEFT OUT: PyTorch: not here' out
check 'a row of products' grep -q '^| product 256 float32 | GFLOP/s | [0-9.]* |' out
check 'one thread' grep -q '^| product 64, one thread | us | [0-9.]* |' out
check 'against a copy' grep -q 'softmax.*of a copy' out

# A trainer that prints as llm.c's does, and would go on for ever.
cat > train_gpt2 << 'EOF'
#!/bin/sh
echo "val loss 5.3"
i=0
while :; do echo "step $i: train loss 4.6 (took 100$i.5 ms)"; i=$((i + 1)); sleep 0.01; done
EOF
chmod +x train_gpt2
# Ingot's own step of 124 million weights would take minutes under an emulator: a small one stands in.
cat > build/small << EOF
#!/bin/sh
exec "$ingot" bench train --preset tiny-1m --context 8 --repetitions 2 -o json
EOF
chmod +x build/small
mkdir beside && mv build/small beside/ingot
check 'llm.c' python3 "$tools/llmc.py" --build beside --llmc train_gpt2 --rounds 1 --steps 3 > out
check 'its median without the first' grep -q '^| llm.c | 1002.5 | 1001.5 |' out
check 'no binary' python3 "$tools/llmc.py" --build beside --llmc nowhere/train_gpt2 --rounds 1 > out
check 'said' grep -q '^LEFT OUT: llm.c: .*is no program' out
check 'ingot alone' grep -q '^| Ingot | [0-9.]* ' out
exit "$failed"
